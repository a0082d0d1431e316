package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// PathKind is the kind of file at a path; a link in its last part is not followed.
type PathKind byte

const (
	PathMissing PathKind = 'n'
	PathDir     PathKind = 'd'
	PathLink    PathKind = 'l'
	PathOther   PathKind = 'o'
)

// Path is a host's answer about a path.
type Path struct {
	Kind PathKind
	// Real is the target of a symbolic link, "" if that is not a directory.
	Real string
}

// Mounted is a mounted filesystem of ZFS.
type Mounted struct{ Dataset, Dir string }

// Paths returns the kinds of paths, and the mounted filesystems of ZFS. It reads the
// latter from the kernel, because zfs mount opens each dataset. It runs one program on
// another host, none here on Linux.
func (h *Host) Paths(ctx context.Context, paths []string) (map[string]Path, []Mounted, error) {
	if !h.Here() {
		return h.remotePaths(ctx, paths)
	}
	out := map[string]Path{}
	for _, p := range paths {
		info, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			out[p] = Path{Kind: PathMissing}
		case err != nil:
			return nil, nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			real, err := filepath.EvalSymlinks(p)
			if to, serr := os.Stat(p); err != nil || serr != nil || !to.IsDir() {
				real = ""
			}
			out[p] = Path{Kind: PathLink, Real: real}
		case info.IsDir():
			out[p] = Path{Kind: PathDir}
		default:
			out[p] = Path{Kind: PathOther}
		}
	}
	table, err := os.ReadFile(mountTable)
	if err != nil {
		mounted, err := h.zfsMount(ctx)
		return out, mounted, err
	}
	var mounted []Mounted
	for line := range strings.Lines(string(table)) {
		mounted = addMounted(mounted, strings.TrimSuffix(line, "\n"))
	}
	return out, mounted, nil
}

// mountTable is where Linux lists the mounts in the namespace of the reader. Elsewhere
// only zfs lists them.
const mountTable = "/proc/self/mounts"

// addMounted adds a line of the mount table if it is about ZFS. Blanks, tabs, newlines
// and backslashes in names are octal there.
func addMounted(list []Mounted, line string) []Mounted {
	f := strings.Split(line, " ")
	if len(f) < 4 || f[2] != "zfs" {
		return list
	}
	return append(list, Mounted{unoctal(f[0]), unoctal(f[1])})
}

func unoctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) < 4 && octal(s[i+2]) < 8 && octal(s[i+3]) < 8 {
			b.WriteByte(octal(s[i+1])<<6 | octal(s[i+2])<<3 | octal(s[i+3]))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) byte { return c - '0' }

// zfsMount returns the filesystems that zfs lists as mounted. If a name looks like part
// of a mountpoint, the result has more entries than filesystems.
func (h *Host) zfsMount(ctx context.Context) (out []Mounted, err error) {
	err = h.askFew(ctx, func(line string) (err error) {
		out, err = addColumns(out, line)
		return err
	}, "zfs", "mount")
	return out, err
}

// maxReadings is in how many ways a line of zfs mount may be read.
const maxReadings = 100

// addColumns adds a line of zfs mount: the name, at least two blanks, the mountpoint.
func addColumns(list []Mounted, line string) ([]Mounted, error) {
	if strings.Count(line, "  /") > maxReadings {
		return list, fmt.Errorf("%q may be read in more than %d ways", cutText(line), maxReadings)
	}
	for i := range line {
		if strings.HasPrefix(line[i:], "  /") {
			list = append(list, Mounted{strings.TrimRight(line[:i], " "), line[i+2:]})
		}
	}
	return list, nil
}

// pathsScript defines look, which prints a letter for each path, and for a link its
// target. -P yields the directory itself, however it is reached.
const pathsScript = `newline='
'
look() {
	for p do
		if [ -h "$p" ]; then
			r=$(cd -P -- "$p" 2>/dev/null && pwd -P)
			case $r in *"$newline"*) r= ;; esac
			printf 'l%s\n' "$r"
		elif [ -d "$p" ]; then echo d
		elif [ -e "$p" ]; then echo o
		else echo n
		fi
	done
}
`

const (
	tableFollows = "mount table:"
	zfsFollows   = "zfs mount:"
)

func (h *Host) remotePaths(ctx context.Context, paths []string) (map[string]Path, []Mounted, error) {
	var script strings.Builder
	script.WriteString("LC_ALL=C\nexport LC_ALL\n" + pathsScript)
	for rest := paths; len(rest) > 0; {
		n := min(len(rest), 100)
		script.WriteString("look " + Quote(rest[:n]...) + "\n")
		rest = rest[n:]
	}
	fmt.Fprintf(&script, "if [ -r %[1]s ]; then echo '%[2]s'; cat %[1]s; else echo '%[3]s'; zfs mount; fi\nexit $?\n", mountTable, tableFollows, zfsFollows)
	out, mounted := map[string]Path{}, []Mounted(nil)
	n := 0
	add := func(line string) error {
		if n < len(paths) {
			if line == "" || !strings.Contains("ndlo", line[:1]) || line[0] != byte(PathLink) && len(line) > 1 {
				return fmt.Errorf("cannot read what %s says of '%s': %q", h, paths[n], line)
			}
			out[paths[n]] = Path{Kind: PathKind(line[0]), Real: line[1:]}
			n++
			return nil
		}
		return fmt.Errorf("cannot read what %s says of its mounts: %q", h, line)
	}
	row := add
	err := h.do(ctx, call{argv: []string{"/bin/sh", "-s"}, stdin: strings.NewReader(script.String()), question: true, left: maxFew.allow(), row: func(line string) error {
		if n == len(paths) {
			switch line {
			case tableFollows:
				n++
				row = func(line string) error { mounted = addMounted(mounted, line); return nil }
				return nil
			case zfsFollows:
				n++
				row = func(line string) (err error) { mounted, err = addColumns(mounted, line); return err }
				return nil
			}
		}
		return row(line)
	}})
	if err == nil && n <= len(paths) {
		err = fmt.Errorf("%s has not said all of its paths and mounts: %w", h, io.ErrUnexpectedEOF)
	}
	return out, mounted, err
}
