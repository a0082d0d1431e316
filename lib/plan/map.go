package plan

import (
	"fmt"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// Map returns the target of each record that takes part. bad are the records whose
// target cannot have a name, because it would be too long, each with the reason. An
// error means that nothing at all may be sent: the names of the sources do not fit the
// options, or two of them would overwrite each other.
func Map(records []*record.Record, target string, strip int) (names map[*record.Record]string, bad map[*record.Record]error, err error) {
	names, bad = map[*record.Record]string{}, map[*record.Record]error{}
	from := map[string]*record.Record{}
	for _, r := range records {
		if r.Type != record.TypeDataset || r.Selected != nil && !*r.Selected {
			continue
		}
		name, err := dataset.TargetName(r.Name, target, strip)
		if long := len(target) + len(r.Name); err != nil && long >= dataset.MaxName && strip <= strings.Count(r.Name, "/") {
			bad[r] = err
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if o := from[name]; o != nil {
			return nil, nil, fmt.Errorf("cannot back up both '%s' and '%s': both would go to '%s'", o.Name, r.Name, name)
		}
		from[name] = r
		names[r] = name
	}
	return names, bad, nil
}
