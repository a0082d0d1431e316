package snapname

import (
	"strings"
	"testing"

	"github.com/jessevdk/go-flags"
)

// A format is refused with the command line unless it suits a backup with a short name;
// whether it suits the backup at hand is found out with that.
func TestFormats(t *testing.T) {
	type options struct {
		Options
		Selecting
		Holding
		Exclusion
	}
	parse := func(args ...string) (*options, error) {
		o := &options{}
		_, err := flags.NewParser(o, flags.None).ParseArgs(args)
		return o, err
	}
	long := strings.Repeat("b", 250)
	for _, c := range []struct {
		option  string
		refused bool
		use     func(*options) error
	}{
		{"--snapshot-format={}-%H", true, nil},
		{"--property-format={}", true, nil},
		{"--hold-format=-{}", true, nil},
		{"--exclude-snapshot-pattern=(", true, nil},
		{"--snapshot-format={}-%Y", false, func(o *options) error { _, err := o.Format(long + "bb"); return err }},
		{"--snapshot-format=%s{}", false, func(o *options) error { _, err := o.Format("1"); return err }},
		{"--property-format=auto:{}", false, func(o *options) error { _, err := o.Property(long + "b"); return err }},
		{"--hold-format={}-hold", false, func(o *options) error { _, err := o.HoldTag(long + "b"); return err }},
	} {
		o, err := parse(c.option)
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", c.option, err)
		}
		if c.use == nil {
			continue
		}
		name, _, _ := strings.Cut(c.option, "=")
		if err := c.use(o); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", c.option, err)
		}
	}
	o, err := parse("--exclude-snapshot-pattern=@manual-", "--exclude-snapshot-pattern=^tank/tmp")
	if err != nil {
		t.Fatal(err)
	}
	for full, want := range map[string]bool{"tank@manual-1": true, "tank/tmp@b-1": true, "tank/a@b-1": false} {
		if o.Excludes(full) != want {
			t.Errorf("'%s' is excluded: %v", full, !want)
		}
	}
	if (&Exclusion{}).Excludes("tank@a") {
		t.Error("excluded without a pattern")
	}
}
