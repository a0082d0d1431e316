package zab

import (
	"zab/lib/cli"
	"zab/lib/pipeline"
	"zab/lib/plan"
	"zab/lib/selection"
	"zab/lib/snap"
	"zab/lib/thin"
	"zab/lib/verify"
	"zab/lib/xfer"
)

// ownOptions are options that are not passed to the stages, because the wrapper itself
// reports.
var ownOptions = map[string]bool{"verbose": true, "help": true, "version": true, "test": true}

// stages returns the commands that the command line asks for, in order.
func (o *Options) stages(args []string) []pipeline.Stage {
	values := pipeline.Given(o)
	make1 := func(p cli.Program, extra, operands []string) pipeline.Stage {
		return pipeline.New(p, values, ownOptions, extra, operands)
	}
	search := []string{args[0]}
	for _, n := range o.Within {
		search = append(search, string(n))
	}
	var exclude []string
	if len(args) == 1 {
		if !o.IncludeReceived && values["exclude-received"] == nil {
			exclude = []string{"--exclude-received"}
		}
	} else {
		// zab-select checks before anything is done that the target exists, and does not
		// select datasets that belong to it. Datasets excluded by options must not look
		// missing to zab-plan.
		exclude = []string{"--target=" + args[1], "--excluded"}
	}
	list := []pipeline.Stage{
		make1(selection.Program(), exclude, search),
		make1(snap.Program(), nil, nil),
	}
	thinner := func() {
		if !o.NoThinning {
			list = append(list, make1(thin.Program(), nil, nil))
		}
	}
	if len(args) == 2 {
		list = append(list, make1(plan.Program(), []string{"--orphans"}, []string{args[1]}))
		thinner()
		if !o.NoSend {
			list = append(list, make1(xfer.Program(), nil, nil))
		}
		if o.Prove {
			// Before what was proved last is thinned; and what differs is not thinned.
			list = append(list, make1(verify.Program(), nil, nil))
		}
		if !o.NoSend {
			thinner()
		}
	} else {
		thinner()
	}
	return list
}
