package zfs

import (
	"context"
	"fmt"
	"strings"
)

// Own are the properties that datasets and snapshots, given by full name, have
// of their own: set there or received, and not inherited. Each name that is
// there is in the answer if it has any. Values may look like anything; an answer
// that could be read in two ways is an error.
func (h *Host) Own(ctx context.Context, names []string) (map[string]map[string]Value, error) {
	out := map[string]map[string]Value{}
	if len(names) == 0 {
		return out, nil
	}
	argv := []string{"zfs", "get", "-Hp", "-s", "local,received", "-o", "name,property,value,source", "all"}
	err := h.batches(argv, names, func(argv []string) error {
		return h.run(ctx, nil, func(line string) error { return addOwn(out, line) }, argv...)
	})
	return out, err
}

func addOwn(to map[string]map[string]Value, line string) error {
	name, rest, _ := strings.Cut(line, "\t")
	prop, rest, ok := strings.Cut(rest, "\t")
	end := strings.LastIndexByte(rest, '\t')
	if !ok || end < 0 || name == "" || prop == "" {
		return fmt.Errorf("cannot read what 'zfs get' printed: %q", line)
	}
	v := Value{Value: rest[:end], Source: rest[end+1:]}
	if v.Source != "local" && v.Source != "received" {
		return fmt.Errorf("cannot read what 'zfs get' printed: %q is no source, in %q", v.Source, line)
	}
	if to[name] == nil {
		to[name] = map[string]Value{}
	}
	if _, twice := to[name][prop]; twice {
		return fmt.Errorf("'zfs get' printed '%s' of '%s' twice", prop, name)
	}
	to[name][prop] = v
	return nil
}
