package zfs

import "zab/lib/record"

// RecvArgv is the zfs receive of a receive step into target: -u, so that it
// changes nothing about what is mounted; -s, so that what came through is kept
// when the stream breaks.
func RecvArgv(target string, s *record.Step) []string {
	argv := []string{"zfs", "receive", "-u", "-s"}
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
	return append(argv, target)
}
