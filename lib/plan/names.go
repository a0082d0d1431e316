package plan

import (
	"fmt"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// TargetName is where a source dataset goes: below target, without the first
// strip parts of its own name. Stripping all of them gives the target itself.
func TargetName(source, target string, strip int) (string, error) {
	parts := strings.Split(source, "/")
	if strip > len(parts) {
		return "", fmt.Errorf("cannot strip %d parts of the path '%s', which has %d", strip, source, len(parts))
	}
	name := strings.Join(append([]string{target}, parts[strip:]...), "/")
	if _, err := dataset.ParseName(name); err != nil {
		return "", fmt.Errorf("cannot back up '%s' to '%s': %w", source, name, err)
	}
	return name, nil
}

// Map finds the target of every record that takes part. An error means that
// nothing at all may be sent: a name that cannot be made, or two sources that
// would overwrite each other.
func Map(records []*record.Record, target string, strip int) (map[*record.Record]string, error) {
	names := map[*record.Record]string{}
	from := map[string]*record.Record{}
	for _, r := range records {
		if r.Type != record.TypeDataset || r.Selected != nil && !*r.Selected {
			continue
		}
		name, err := TargetName(r.Name, target, strip)
		if err != nil {
			return nil, err
		}
		if o := from[name]; o != nil {
			return nil, fmt.Errorf("cannot back up both '%s' and '%s': both would go to '%s'", o.Name, r.Name, name)
		}
		from[name] = r
		names[r] = name
	}
	return names, nil
}
