package xfer

import (
	"strconv"

	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/stream"
)

// rule returns the rule for the stream of a receive step; see transfer. It is nil if
// nothing is watched for and the source is this machine, whose zfs is trusted to send the
// stream it was asked for.
func (j *job) rule(s *record.Step, unneeded []string, watch bool) *sendstream.Rule {
	if j.x.source(j.r).Here() {
		if !watch {
			return nil
		}
		return &sendstream.Rule{Trusted: true, Without: unneeded}
	}
	from, err := strconv.ParseUint(s.FromGUID, 10, 64)
	return &sendstream.Rule{FromGUID: from, AnyBase: err != nil && s.From != "", Several: len(s.Through) > 0}
}

// visible cuts streams so that each can be held to its rule. A stream of several
// snapshots must pass through this process as zfs sends it. Where it does not, because it
// goes from one host to another compressed or through pipe commands, each snapshot is
// sent alone.
func (j *job) visible(steps []record.Step) []record.Step {
	t := stream.Transfer{Source: j.x.source(j.r), Target: j.x.target(j.r), Options: &j.x.o.Stream}
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
