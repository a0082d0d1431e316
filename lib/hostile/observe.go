package hostile

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// observer judges the effects of a run on the honest host.
type observer struct {
	*outcome
	found []string
}

// observe returns the violations of a run. honest is the outcome of the same workflow
// without lies, the measure of a complete backup.
func observe(o, honest *outcome) []string {
	v := &observer{outcome: o}
	v.checkCommands()
	v.checkPromises()
	v.checkExitStatus(honest)
	v.checkProofs()
	v.checkStatus()
	v.checkWithin(honest)
	v.checkTerminal()
	if o.timeout {
		v.add("the run did not end within %s", maxTime)
	}
	if o.left != nil {
		v.add("still running at the end: %s", strings.Join(o.left, "; "))
	}
	if o.memory > maxMemory {
		v.add("a process took %d MiB of memory", o.memory>>20)
	}
	if strings.Contains(o.stderr, "WARNING: DATA RACE") {
		v.add("a data race")
	}
	if o.canary {
		v.add("a shell ran text that came from a host")
	}
	return v.found
}

func (v *observer) add(format string, a ...any) {
	s := fmt.Sprintf(format, a...)
	if len(s) > 600 {
		s = s[:600] + "..."
	}
	if !slices.Contains(v.found, s) {
		v.found = append(v.found, s)
	}
}

// checkExitStatus checks that the exit status is 0 only if all selected datasets were
// backed up, as far as zab could know.
func (v *observer) checkExitStatus(honest *outcome) {
	if v.exit != 0 || !v.w.backsUp() || honest == nil || v.steps != nil { // checkWithin judges steps
		return
	}
	said := func(guid string) bool {
		return slices.ContainsFunc(v.log, func(e Entry) bool { return e.Lie != "" && strings.Contains(e.Said, guid) })
	}
	fair := slices.ContainsFunc(v.log, func(e Entry) bool { return e.Fair })
	forged := len(v.lies) > 0 && v.lies[0].Signature == userProperty
	for _, n := range v.w.selected {
		if forged && n == liarDataset {
			continue // its owner harms only their own backup
		}
		if v.w.hostile == "dst" {
			src := v.srcAfter.find(n)
			if src == nil || src.newest() == nil {
				continue
			}
			newest := src.newest()
			c := v.dstAfter.find(v.w.copyName(n))
			if c != nil && slices.ContainsFunc(c.Snaps, func(s *Snap) bool { return s.GUID == newest.GUID }) || said(newest.GUID) {
				continue
			}
			v.add("exit status 0, but '%s@%s' is not on the target, which never claimed to have it", n, newest.Name)
			continue
		}
		want := honest.dstAfter.find(honest.w.copyName(n))
		c := v.dstAfter.find(v.w.copyName(n))
		if want == nil || want.newest() == nil || fair {
			continue
		}
		if c == nil || c.newest() == nil || !slices.ContainsFunc(c.Snaps, func(s *Snap) bool { return s.Name == want.newest().Name }) {
			v.add("exit status 0, but '%s@%s' was not backed up", n, want.newest().Name)
		}
	}
}

// checkTerminal checks that stdout and stderr have no control characters that a terminal
// would obey.
func (v *observer) checkTerminal() {
	out := v.stdout
	if v.w.proves || v.w.kind == "status" && v.w.output == "" {
		out = "" // records
	}
	for _, t := range []struct{ where, text string }{{"stdout", out}, {"stderr", v.stderr}} {
		for i := 0; i < len(t.text); {
			r, n := utf8.DecodeRuneInString(t.text[i:])
			b := t.text[i]
			if r == utf8.RuneError && n == 1 && b >= 0x80 && b <= 0x9f || r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f {
				v.add("a control character on %s: %q", t.where, around(t.text, i))
				break
			}
			i += n
		}
	}
}

func around(s string, i int) string { return s[max(0, i-60):min(len(s), i+30)] }
