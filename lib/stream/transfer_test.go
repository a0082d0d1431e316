package stream

import (
	"os/exec"
	"testing"

	"zab/lib/zfs"
)

func testTransfer(src, dst string, o Options) *Transfer {
	m := &zfs.Machine{}
	return &Transfer{
		Source: m.Host(src), Target: m.Host(dst), Options: &o, Limiter: NewLimiter(1 << 40),
		Send: []string{"zfs", "send", "a@1"}, Recv: []string{"zfs", "receive", "-u", "-s", "b"},
	}
}

func TestPipelineText(t *testing.T) {
	const ssh = "ssh -a -x -T -o BatchMode=yes -o ClearAllForwardings=yes -o Tunnel=no -o PermitLocalCommand=no -- "
	all := Options{Compress: "zstd-fast", Buffer: 16 << 20, Rate: 10 << 20, SendPipe: []string{"cat"}, RecvPipe: []string{"tee log"}}
	for _, c := range []struct {
		name, src, dst string
		o              Options
		want           string
	}{
		{"local", "", "", Options{}, "zfs send a@1 | zfs receive -u -s b"},
		{"push", "", "h", Options{}, "zfs send a@1 | " + ssh + "h 'env LC_ALL=C zfs receive -u -s b'"},
		{"pull", "h", "", Options{}, ssh + "h 'env LC_ALL=C zfs send a@1' | zfs receive -u -s b"},
		{"both", "g", "h", Options{}, ssh + "g 'env LC_ALL=C zfs send a@1' | " + ssh + "h 'env LC_ALL=C zfs receive -u -s b'"},
		{"one buffer where nothing is between", "", "", Options{Buffer: 16 << 20, Rate: 1 << 30}, "zfs send a@1 | mbuffer -q -m 16M -R 1G | zfs receive -u -s b"},
		{"all local", "", "", all, "zfs send a@1 | mbuffer -q -m 16M | /bin/sh -c cat | zstd -q -T0 -3 -c | mbuffer -q -R 10M | zstd -q -dc | /bin/sh -c 'tee log' | mbuffer -q -m 16M | zfs receive -u -s b"},
	} {
		if got := testTransfer(c.src, c.dst, c.o).Text(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// Each relay of this process counts, buffers and limits where it should, and no two
// relays are neighbours.
func TestPipelinePlaces(t *testing.T) {
	for _, src := range []string{"", "g"} {
		for _, dst := range []string{"", "h"} {
			for _, compress := range []string{"", "lz4"} {
				for _, buffer := range []Size{0, 1 << 20} {
					tr := testTransfer(src, dst, Options{Compress: Compression(compress), Buffer: buffer, Rate: 1 << 20})
					places := tr.places()
					var limits, streams, wires, buffers int
					for i, p := range places {
						if p.relay == (p.prog != nil) || p.relay && (i == 0 || i == len(places)-1 || places[i-1].relay) {
							t.Fatalf("%s>%s %s %s: bad places %+v", src, dst, compress, buffer, places)
						}
						if p.limit {
							limits++
						}
						if p.wire {
							wires++
						}
						if p.limit != p.wire {
							t.Error("the limit is not on the wire")
						}
						if p.stream {
							streams++
						}
						if p.buffer {
							buffers++
						}
					}
					seen := src == "" || dst == "" || compress == ""
					if limits != 1 || wires != 1 || seen && streams != 1 || !seen && streams != 0 {
						t.Errorf("%s>%s %s %s: %d limits, %d wires, %d streams", src, dst, compress, buffer, limits, wires, streams)
					}
					if buffer == 0 && buffers > 0 {
						t.Error("a buffer that nobody wanted")
					}
				}
			}
		}
	}
}

// A remote shell passes arguments to the programs of a line unchanged, with any
// characters in them.
func TestRemoteLineQuoting(t *testing.T) {
	for _, odd := range []string{"a b@c", "x'y", `x"y`, "$HOME", "`id`", "a;b", "a\\b", "*", "~", "é", "!x", "-n"} {
		o := &Options{Buffer: 1 << 20}
		for _, elements := range [][]element{
			{{name: "zfs send", argv: []string{"printf", "%s", odd}}},
			{{name: "zfs send", argv: []string{"printf", "%s", odd}}, {name: "the send pipe", argv: []string{"/bin/sh", "-c", "cat; : " + zfs.Quote(odd)}}, {name: "cat", argv: []string{"cat"}}},
		} {
			line := zfs.Quote(remoteArgv(o, elements)...)
			out, err := exec.Command("/bin/sh", "-c", line).CombinedOutput()
			if err != nil || string(out) != odd {
				t.Errorf("%q became %q, %v: %s", odd, out, err, line)
			}
		}
	}
}

func TestRemoteLineTellsFailures(t *testing.T) {
	run := func(elements ...element) (string, error) {
		out, err := exec.Command("/bin/sh", "-c", zfs.Quote(remoteArgv(&Options{}, elements)...)).CombinedOutput()
		return string(out), err
	}
	if out, err := run(element{name: "zfs send", argv: []string{"sh", "-c", "exit 7"}}, element{name: "cat", argv: []string{"cat"}}); err != nil || out != "zab: zfs send failed: 7\n" {
		t.Errorf("%q, %v", out, err)
	}
	out, err := run(element{name: "zfs send", argv: []string{"echo", "data"}}, element{name: "x", argv: []string{"no-such-program", "-c"}})
	if err == nil || out != "no-such-program: command not found\n" {
		t.Errorf("%q, %v", out, err)
	}
}
