package schedule

import "fmt"

// Target holds the options of the commands that know which snapshots the target keeps.
type Target struct {
	Keep       string `long:"keep-target" section:"thinning" often:"yes" value-name:"SCHEDULE" default:"10,1d1w,1w1m,1m1y" unquote:"false" description:"Snapshots of ours that the target keeps"`
	NoThinning bool   `long:"no-thinning" section:"thinning" description:"Thin nothing, and send also what the schedule would not keep"`
}

// KeepTarget returns the target's schedule; nil with --no-thinning.
func (o *Target) KeepTarget() (*Schedule, error) {
	s, err := Parse(o.Keep)
	if err != nil {
		return nil, fmt.Errorf("--keep-target: %w", err)
	}
	if o.NoThinning {
		return nil, nil
	}
	return &s, nil
}

// Source holds the option of the commands that know which snapshots the source keeps.
type Source struct {
	Keep string `long:"keep-source" section:"thinning" often:"yes" value-name:"SCHEDULE" default:"10,1d1w,1w1m,1m1y" unquote:"false" description:"Snapshots of ours that the source keeps"`
}

// KeepSource returns the source's schedule.
func (o *Source) KeepSource() (Schedule, error) {
	s, err := Parse(o.Keep)
	if err != nil {
		return s, fmt.Errorf("--keep-source: %w", err)
	}
	return s, nil
}
