package zab

import (
	"reflect"
	"testing"

	"zab/lib/cli"
	"zab/lib/pipeline"
)

// The arguments that stages get mean what was given to zab.
func TestGiven(t *testing.T) {
	parse := func(args ...string) *Options {
		o := &Options{}
		if _, err := (cli.Program{Name: "zab", Options: o}).Parser().ParseArgs(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		return o
	}
	if given := pipeline.Given(parse()); len(given) > 0 {
		t.Errorf("without an option: %q", given)
	}
	more := map[string][]string{
		"keep-target":              {" 3, 1D1W", "0"},
		"destroy-missing":          {"0d", " 30D "},
		"search-every":             {"24h"},
		"now":                      {"2026-11-22", "2026-11-22 03:00"},
		"query-timeout":            {"0", "60m", "90s"},
		"rate":                     {"1536k", "1000", "2t"},
		"filter-properties":        {"a, b"},
		"within":                   {"tank/my data"},
		"exclude-snapshot-pattern": {`@(a|b)\.[0-9]+ $`},
	}
	for _, opt := range options(Program()) {
		name := opt.LongName
		if opt.ValueName == "" {
			continue
		}
		for _, v := range append(more[name], values[name].good) {
			o := parse("--" + name + "=" + v)
			given := pipeline.Given(o)
			if len(given) != 1 || given[name] == nil || !reflect.DeepEqual(parse(given[name]...), o) {
				t.Errorf("--%s=%s is passed on as %q", name, v, given)
			}
		}
	}
}
