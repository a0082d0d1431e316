package schedule

// Target holds the options of the commands that know which snapshots the target keeps.
type Target struct {
	Keep       Schedule `long:"keep-target" section:"thinning" often:"yes" value-name:"SCHEDULE" default:"10,1d1w,1w1m,1m1y" unquote:"false" description:"Snapshots of ours that the target keeps"`
	NoThinning bool     `long:"no-thinning" section:"thinning" description:"Thin nothing, and send also what the schedule would not keep"`
}

// KeepTarget returns the target's schedule; nil with --no-thinning.
func (o *Target) KeepTarget() *Schedule {
	if o.NoThinning {
		return nil
	}
	return &o.Keep
}

// Source holds the option of the commands that know which snapshots the source keeps.
type Source struct {
	Keep Schedule `long:"keep-source" section:"thinning" often:"yes" value-name:"SCHEDULE" default:"10,1d1w,1w1m,1m1y" unquote:"false" description:"Snapshots of ours that the source keeps"`
}
