package zab

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/jessevdk/go-flags"

	"zab/lib/cli"
	"zab/lib/plan"
	"zab/lib/selection"
	"zab/lib/snap"
	"zab/lib/thin"
	"zab/lib/verify"
	"zab/lib/xfer"
	"zab/lib/zfs"
)

// stage is one command of the chain.
type stage struct {
	program  cli.Program
	argv     []string // including the program's name
	operands []string
}

// ownOptions are options that are not passed to the stages, because the wrapper itself
// reports.
var ownOptions = map[string]bool{"verbose": true, "help": true, "version": true, "test": true}

// stages returns the commands that the command line asks for, in order.
func (o *Options) stages(args []string) []stage {
	values := o.given()
	make1 := func(p cli.Program, extra, operands []string) stage {
		argv := []string{p.Name}
		cli.EachOption(p.Parser(), func(opt *flags.Option) {
			if !ownOptions[opt.LongName] {
				argv = append(argv, values[opt.LongName]...)
			}
		})
		argv = append(argv, extra...)
		return stage{p, append(argv, operands...), operands}
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
	list := []stage{
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
			thinner()
		}
		if o.Prove {
			list = append(list, make1(verify.Program(), nil, nil))
		}
	} else {
		thinner()
	}
	return list
}

// given returns the options on the command line as arguments, by long name.
func (o *Options) given() map[string][]string {
	out := map[string][]string{}
	p := cli.Program{Name: "zab", Options: o}
	cli.EachOption(p.Parser(), func(opt *flags.Option) {
		v := reflect.ValueOf(opt.Value())
		name := "--" + opt.LongName
		isDefault := false
		if len(opt.Default) == 1 {
			isDefault = fmt.Sprint(opt.Value()) == opt.Default[0]
		}
		switch {
		case isDefault:
		case v.Kind() == reflect.Bool:
			if v.Bool() {
				out[opt.LongName] = []string{name}
			}
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				out[opt.LongName] = append(out[opt.LongName], name+"="+fmt.Sprint(v.Index(i)))
			}
		case !v.IsZero() || len(opt.Default) == 1:
			// Zero is not the default of an option whose default is another number.
			out[opt.LongName] = []string{name + "=" + fmt.Sprint(opt.Value())}
		}
	})
	return out
}

// pipeline returns the equivalent shell pipeline.
func pipeline(stages []stage) string {
	var lines []string
	for _, s := range stages {
		lines = append(lines, zfs.Quote(s.argv...))
	}
	return strings.Join(lines, " |\n  ") + "\n"
}

// find returns the path of a stage's program: next to this one if it exists there, else
// its bare name, which is looked up on PATH.
func find(name string) string {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		beside := filepath.Join(filepath.Dir(self), name)
		if st, err := os.Stat(beside); err == nil && !st.IsDir() {
			return beside
		}
	}
	return name
}
