package status

import (
	"context"

	"zab/lib/cli"
	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// readProofs reads when the copies were verified last, with one program for each target
// host; for a page also how large they are.
func (o *Options) readProofs(ctx context.Context, env *cli.Env, all []*record.Record) error {
	var hosts groups.Of[string, *record.Record]
	for _, r := range all {
		t := r.Target
		if r.Type != record.TypeDataset || t == nil || len(t.Snapshots) == 0 {
			continue
		}
		hosts.Add(t.Host, r)
	}
	for dest, set := range hosts.All() {
		host := env.Machine.Host(dest)
		var names []string
		for _, r := range set {
			names = append(names, r.Target.Name)
		}
		props := []string{zfs.ProofProp}
		if o.HTML != "" {
			props = append(props, "used")
		}
		got, err := host.Existing(ctx, props, names)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			o.warn(env, "cannot read when the copies on %s were verified: %s", host, err)
		}
		for _, r := range set {
			d, ok := got[r.Target.Name]
			if !ok {
				continue
			}
			if used, ok := d.Props["used"].Int(); ok {
				r.Target.Used = &used
			}
			s := asked(r)
			s.Proof = record.StatusNeverProved
			// Marks of earlier versions do not tell the source.
			if p := d.Proof(); p != nil && (p.Source == "" || p.Of(r.GUID) || p.How == record.ProofDifferent) {
				s.Proof, s.ProofTime = p.How, &p.At
			}
		}
	}
	return nil
}

// proof judges when the copy was verified.
func (s *state) proof() {
	if s.rules.Verified == 0 {
		return
	}
	age, future := s.age(s.ProofTime)
	switch {
	case s.Proof == "":
		s.is(record.StatusUnknown, "it is not known when the copy was verified")
	case s.Proof == record.StatusNeverProved:
		s.is(record.StatusWarn, "the copy was never verified")
	case s.Proof == record.ProofDifferent:
		s.is(record.StatusCrit, "the copy was not equal to its source when it was verified")
	case future:
		s.is(record.StatusUnknown, "the copy was verified in the future: is a clock wrong?")
	case *age > s.rules.Verified:
		s.is(record.StatusWarn, "the copy was verified %s ago, more than %s", ageText(*age), ageText(s.rules.Verified))
	}
}
