package xfer

import (
	"strconv"

	"zab/lib/record"
	"zab/lib/sendstream"
)

// rule returns the rule for the stream of a receive step; nil if it may bring all
// properties and the source is this machine, whose zfs is trusted to send the stream it
// was asked for.
func (j *job) rule(s *record.Step, without []string) *sendstream.Rule {
	if j.x.source(j.r).Here() {
		if without == nil {
			return nil
		}
		return &sendstream.Rule{Trusted: true, Without: without}
	}
	from, err := strconv.ParseUint(s.FromGUID, 10, 64)
	return &sendstream.Rule{FromGUID: from, AnyBase: err != nil && s.From != "", Several: len(s.Through) > 0, Without: without}
}

// visible cuts streams so that each can be held to its rule. A stream of several
// snapshots must pass through this process as zfs sends it. Where it does not, because it
// goes from one host to another compressed or through pipe commands, each snapshot is
// sent alone.
func (j *job) visible(steps []record.Step) []record.Step {
	if j.seen() {
		return steps
	}
	var out []record.Step
	for _, s := range steps {
		for len(s.Through) > 0 {
			chain := append(s.Through[:len(s.Through):len(s.Through)], record.Through{Name: s.To, GUID: s.ToGUID})
			out = append(out, upTo(s, chain[:1]))
			s.From, s.FromGUID, s.Origin, s.Force = chain[0].Name, chain[0].GUID, "", false
			s = upTo(s, chain[1:])
		}
		out = append(out, s)
	}
	return out
}
