package zfs

import (
	"slices"
	"strings"

	"zab/lib/record"
)

// RecvArgv returns the zfs receive of a receive step into target. -u leaves mounts as
// they are; -s saves a partial receive when the stream breaks, if the pool can; -h skips
// the holds of the source, which mean nothing for the copy.
//
// A step of one snapshot names it: zfs (2.1 to 2.4) then refuses a package of several
// datasets before it has changed anything, and gives no snapshot of the stream another
// place or name. Without the name, the stream decides.
func RecvArgv(target string, s *record.Step) []string {
	argv := []string{"zfs", "receive", "-u"}
	if !s.NoResume {
		argv = append(argv, "-s")
	}
	argv = append(argv, "-h")
	if s.Force {
		argv = append(argv, "-F")
	}
	for _, p := range s.Exclude {
		argv = append(argv, "-x", p)
	}
	for _, p := range s.Set {
		argv = append(argv, "-o", p)
	}
	if s.Origin != "" {
		argv = append(argv, "-o", "origin="+s.Origin)
	}
	if len(s.Through) == 0 && s.To != "" {
		target += "@" + s.To
	}
	return append(argv, target)
}

// KeyParameter reports whether a property travels inside a raw stream, for which zfs does
// not accept it as an option. keylocation does not travel inside.
func KeyParameter(name string) bool {
	return name == "encryption" || name == "keyformat" || name == "pbkdf2iters"
}

// WithoutKey returns properties, each P=V, without those that only the stream that
// creates a dataset may set. zfs counts a resumed stream as another.
func WithoutKey(set []string) []string {
	return slices.DeleteFunc(slices.Clone(set), func(pv string) bool {
		name, _, _ := strings.Cut(pv, "=")
		return KeyParameter(name) || name == "keylocation"
	})
}
