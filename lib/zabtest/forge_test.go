package zabtest

import (
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"zab/lib/zfs/zfstest"
)

// cmdForge: forge TOKEN OUT EDIT... reads the resume token in the file TOKEN, changes its
// pairs, and writes it to the file OUT. -NAME removes a pair, NAME=VALUE sets it, and
// +NAME=VALUE appends one, where %00 in NAME is a NUL. The edit trailing, which has to be
// the only one, appends a byte to the zlib stream. @FILE is the edit in that file.
func cmdForge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: forge token out edit...")
	}
	z, pairs, err := zfstest.Unpack(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	le := binary.LittleEndian
	size := len(zfstest.List(le, pairs...))
	index := func(name string) int {
		i := slices.IndexFunc(pairs, func(p zfstest.Pair) bool { return p.Name == name })
		if i < 0 {
			ts.Fatalf("forge: the token has no %q", name)
		}
		return i
	}
	typed := func(v string) any {
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			return n
		}
		return v
	}
	for _, edit := range args[2:] {
		if edit[0] == '@' {
			edit = ts.ReadFile(edit[1:])
		}
		name, v, _ := strings.Cut(edit, "=")
		switch {
		case edit == "trailing":
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(zfstest.Around(le, append(z, 0), size)+"\n"), 0o666))
			return
		case edit[0] == '-':
			pairs = slices.Delete(pairs, index(edit[1:]), index(edit[1:])+1)
		case edit[0] == '+':
			pairs = append(pairs, zfstest.Pair{Name: strings.ReplaceAll(name[1:], "%00", "\x00"), Value: typed(v)})
		default:
			pairs[index(name)].Value = typed(v)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(zfstest.Pack(le, zfstest.List(le, pairs...))+"\n"), 0o666))
}
