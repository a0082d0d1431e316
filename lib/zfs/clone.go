package zfs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"zab/lib/dataset"
)

// Clone creates a dataset from a snapshot, with properties, each P=V. A filesystem gets
// mounted by it unless canmount says otherwise: zfs (2.3) has no option for that.
func (h *Host) Clone(ctx context.Context, snapshot, dataset string, props []string) error {
	return h.run(ctx, CloneArgv(snapshot, dataset, props)...)
}

// CloneArgv returns the command of Clone.
func CloneArgv(snapshot, dataset string, props []string) []string {
	argv := []string{"zfs", "clone"}
	for _, p := range props {
		argv = append(argv, "-o", p)
	}
	return append(argv, snapshot, dataset)
}

// Promote moves the origin of a clone to the clone, with all snapshots up to it, their
// holds, and the key (tried on 2.1.11 and 2.3.2, also with raw copies whose key is not
// loaded).
func (h *Host) Promote(ctx context.Context, dataset string) error {
	return h.run(ctx, PromoteArgv(dataset)...)
}

// PromoteArgv returns the command of Promote.
func PromoteArgv(dataset string) []string { return []string{"zfs", "promote", dataset} }

// Revert resets a property to its received value, or to its default. It mounts nothing,
// whereas zfs set canmount=on would.
func (h *Host) Revert(ctx context.Context, prop, dataset string) error {
	return h.run(ctx, RevertArgv(prop, dataset)...)
}

// RevertArgv returns the command of Revert.
func RevertArgv(prop, dataset string) []string {
	return []string{"zfs", "inherit", "-S", prop, dataset}
}

// maxLocals is how many locally set properties a dataset may have; zfs itself has fewer
// than a hundred.
const maxLocals = 1000

// Locals returns the properties that were set on a dataset itself, each P=V, in zfs's
// order. It asks for the names first, because values may look like anything.
func (h *Host) Locals(ctx context.Context, name string) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	err := h.ask(ctx, func(line string) error {
		if err := dataset.CheckProperty(line); err != nil {
			return err
		}
		if seen[line] {
			return fmt.Errorf("the property %q comes twice", line)
		}
		if seen[line] = true; len(seen) > maxLocals {
			return fmt.Errorf("it has more than %d properties of its own", maxLocals)
		}
		// zfs counts these for a limit, and calls them local although nobody can set them.
		if line != "filesystem_count" && line != "snapshot_count" {
			names = append(names, line)
		}
		return nil
	}, "zfs", "get", "-Hp", "-s", "local", "-o", "property", "all", name)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	got, err := h.Get(ctx, names, []string{name}, false)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range got {
		for _, n := range names {
			if v, ok := d.Props[n]; ok && v.Source == "local" {
				out = append(out, n+"="+v.Value)
			}
		}
	}
	return out, nil
}

// ForClone returns the properties, each P=V, that a clone of the dataset can be given. It
// leaves out those that the clone has from its origin, and those that belong to the
// original dataset only.
func ForClone(props []string) []string {
	return slices.DeleteFunc(WithoutUnshared(props), func(pv string) bool {
		name, _, _ := strings.Cut(pv, "=")
		switch name {
		case "keylocation", "volsize", "volblocksize", AsideProp, MissingProp:
			return true
		}
		return KeyParameter(name) || Reserves(name)
	})
}

// WithoutUnshared returns properties, each P=V, with StreamUnshared removed from StreamProp.
func WithoutUnshared(props []string) []string {
	props = slices.Clone(props)
	for i, pv := range props {
		if flags, ok := strings.CutPrefix(pv, StreamProp+"="); ok {
			flags = strings.TrimSuffix(strings.TrimSuffix(flags, StreamUnshared), ",")
			props[i] = StreamProp + "=" + cmp.Or(flags, "none")
		}
	}
	return props
}

// Reserves reports whether a property reserves space that may hold no data.
func Reserves(name string) bool { return name == "reservation" || name == "refreservation" }
