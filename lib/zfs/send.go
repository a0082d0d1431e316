package zfs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zab/lib/record"
)

// sendFlags are the flags that a plan may give to zfs send. All others are refused, above
// all -R, which would send datasets that nobody selected.
var sendFlags = []string{"-L", "-c", "-p", "-w"}

// SendArgv returns the zfs send of a receive step of source.
func SendArgv(source string, s *record.Step) ([]string, error) {
	if s.Token != "" {
		return resumeArgv(source, s)
	}
	argv := []string{"zfs", "send"}
	for _, f := range s.Flags {
		if !slices.Contains(sendFlags, f) {
			return nil, fmt.Errorf("the flag %q of zfs send is not one that a plan may have", f)
		}
		argv = append(argv, f)
	}
	if s.From != "" {
		from := s.From
		switch {
		case strings.Contains(from, "@"): // a clone's origin, in full
		case strings.HasPrefix(from, "#"):
			from = source + from
		default:
			from = source + "@" + from
		}
		if len(s.Through) > 0 {
			argv = append(argv, "-I", from)
		} else {
			argv = append(argv, "-i", from)
		}
	}
	return append(argv, source+"@"+s.To), nil
}

// Estimate asks zfs for the size of a stream in bytes. argv is from SendArgv.
func (h *Host) Estimate(ctx context.Context, argv []string) (int64, error) {
	est := append([]string{"zfs", "send", "-nP"}, argv[2:]...)
	var size int64 = -1
	err := h.ask(ctx, func(line string) error {
		if f := strings.Split(line, "\t"); len(f) == 2 && f[0] == "size" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return fmt.Errorf("cannot read the estimate of zfs send: %q", line)
			}
			size = n
		}
		return nil
	}, est...)
	if err == nil && size < 0 {
		return 0, fmt.Errorf("zfs send -nP gave no estimate")
	}
	return size, err
}
