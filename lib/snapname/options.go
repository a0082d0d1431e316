package snapname

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Options holds the options of every command that must know which snapshots are ours.
type Options struct {
	SnapshotFormat snapshotFormat `long:"snapshot-format" section:"snapshots" value-name:"FORMAT" default:"{}-%Y%m%d%H%M%S" unquote:"false" description:"Names of our snapshots: {} is the backup name, the rest as for strftime"`
	UTC            bool           `long:"utc" section:"snapshots" description:"Times in snapshot names are UTC, not local time"`
}

// snapshotFormat is a format that makes valid names if that of the backup is short. The
// name itself is an operand, or in a record. The types of the other formats are alike.
type snapshotFormat string

func (f *snapshotFormat) UnmarshalFlag(s string) error {
	*f = snapshotFormat(s)
	_, err := New(s, "x", time.UTC)
	return err
}

// Format returns the format of the snapshot names of one backup.
func (o *Options) Format(backup string) (Format, error) {
	loc := time.Local
	if o.UTC {
		loc = time.UTC
	}
	f, err := New(string(o.SnapshotFormat), backup, loc)
	if err != nil {
		return f, fmt.Errorf("--snapshot-format: %w", err)
	}
	return f, nil
}

// Selecting holds the option of the commands that read the selecting property.
type Selecting struct {
	PropertyFormat propertyFormat `long:"property-format" section:"selection" value-name:"FORMAT" default:"autobackup:{}" unquote:"false" description:"Name of the selecting property; {} is the backup name"`
}

type propertyFormat string

func (f *propertyFormat) UnmarshalFlag(s string) error {
	*f = propertyFormat(s)
	_, err := Property(s, "x")
	return err
}

// Property returns the name of the property that selects datasets for one backup.
func (s *Selecting) Property(backup string) (string, error) {
	prop, err := Property(string(s.PropertyFormat), backup)
	if err != nil {
		return "", fmt.Errorf("--property-format: %w", err)
	}
	return prop, nil
}

// Holding holds the option of the commands that know the tags of our holds.
type Holding struct {
	HoldFormat holdFormat `long:"hold-format" section:"sent" value-name:"FORMAT" default:"zfs_autobackup:{}" unquote:"false" description:"Tag of our holds; {} is the backup name"`
}

type holdFormat string

func (f *holdFormat) UnmarshalFlag(s string) error {
	*f = holdFormat(s)
	_, err := HoldTag(s, "x")
	return err
}

// HoldTag returns the tag of our holds for one backup.
func (h *Holding) HoldTag(backup string) (string, error) {
	tag, err := HoldTag(string(h.HoldFormat), backup)
	if err != nil {
		return "", fmt.Errorf("--hold-format: %w", err)
	}
	return tag, nil
}

// Backup is the value of an option that is the name of a backup.
type Backup string

// UnmarshalFlag parses the value of an option.
func (b *Backup) UnmarshalFlag(s string) error {
	*b = Backup(s)
	return BackupName(s)
}

// Exclusion holds the option of the commands that list snapshots.
type Exclusion struct {
	Patterns []pattern `long:"exclude-snapshot-pattern" section:"snapshots" value-name:"REGEX" unquote:"false" description:"Ignore snapshots whose full name matches"`
}

type pattern struct{ *regexp.Regexp }

func (p *pattern) UnmarshalFlag(s string) (err error) {
	p.Regexp, err = regexp.Compile(s)
	return err
}

// Excludes reports whether a snapshot is excluded, by its full name.
func (e *Exclusion) Excludes(full string) bool {
	return slices.ContainsFunc(e.Patterns, func(p pattern) bool { return p.MatchString(full) })
}
