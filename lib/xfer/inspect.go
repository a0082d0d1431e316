package xfer

import (
	"strconv"

	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/stream"
)

// rule is what the stream of a receive step may do; nil where the source is this
// machine, whose zfs sends what it was told to.
func (j *job) rule(s *record.Step) *sendstream.Rule {
	if j.x.source(j.r).Here() {
		return nil
	}
	from, err := strconv.ParseUint(s.FromGUID, 10, 64)
	return &sendstream.Rule{FromGUID: from, AnyBase: err != nil && s.From != "", Several: len(s.Through) > 0}
}

// visible cuts streams so that each can be held to its rule: one of several
// snapshots must pass through this process as zfs sends it, and where it does not,
// for it goes from one host to another packed, each snapshot goes alone.
func (j *job) visible(steps []record.Step) []record.Step {
	t := stream.Transfer{Source: j.x.source(j.r), Target: j.x.target(j.r), Options: &j.x.o.stream}
	if t.SeenHere() {
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
