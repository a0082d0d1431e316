package snapname

import (
	"fmt"
	"regexp"
	"time"
)

// Options holds the options of every command that must know which snapshots are ours.
type Options struct {
	SnapshotFormat string `long:"snapshot-format" section:"snapshots" value-name:"FORMAT" default:"{}-%Y%m%d%H%M%S" unquote:"false" description:"Names of our snapshots: {} is the backup name, the rest as for strftime"`
	UTC            bool   `long:"utc" section:"snapshots" description:"Times in snapshot names are UTC, not local time"`
}

// Format returns the format of the snapshot names of one backup.
func (o *Options) Format(backup string) (Format, error) {
	loc := time.Local
	if o.UTC {
		loc = time.UTC
	}
	f, err := New(o.SnapshotFormat, backup, loc)
	if err != nil {
		return f, fmt.Errorf("--snapshot-format: %w", err)
	}
	return f, nil
}

// Selecting holds the option of the commands that read the selecting property.
type Selecting struct {
	PropertyFormat string `long:"property-format" section:"selection" value-name:"FORMAT" default:"autobackup:{}" unquote:"false" description:"Name of the selecting property; {} is the backup name"`
}

// Property returns the name of the property that selects datasets for one backup.
func (s *Selecting) Property(backup string) (string, error) {
	prop, err := Property(s.PropertyFormat, backup)
	if err != nil {
		return "", fmt.Errorf("--property-format: %w", err)
	}
	return prop, nil
}

// Exclusion holds the option of the commands that list snapshots.
type Exclusion struct {
	Patterns []string `long:"exclude-snapshot-pattern" section:"snapshots" value-name:"REGEX" unquote:"false" description:"Ignore snapshots whose full name matches"`
}

// Compile returns a function that reports whether a full name is excluded.
func (e *Exclusion) Compile() (func(full string) bool, error) {
	var res []*regexp.Regexp
	for _, t := range e.Patterns {
		re, err := regexp.Compile(t)
		if err != nil {
			return nil, fmt.Errorf("--exclude-snapshot-pattern: %w", err)
		}
		res = append(res, re)
	}
	return func(full string) bool {
		for _, re := range res {
			if re.MatchString(full) {
				return true
			}
		}
		return false
	}, nil
}
