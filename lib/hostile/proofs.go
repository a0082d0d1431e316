package hostile

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file judges what zab-verify says and marks (P12). A copy may be called equal only if
// the honest side sent the whole snapshot, and the other one sent the same contents, or
// printed their digest. What a digest from a hostile host is worth, zab-security(7) says.

const (
	// proofProp is the mark of a copy that was compared.
	proofProp = "zab:verified"
	// differentTag is the tag of the holds on a snapshot and its copy that differ.
	differentTag = "zab:different"
)

var proofValue = regexp.MustCompile(`^([1-9][0-9]{0,19}):(0|[1-9][0-9]{0,18}):(full|increment|different):(0|[1-9][0-9]{0,18}):(0|[1-9][0-9]{0,19}):([1-9][0-9]{0,19})$`)

// line is a record in the output.
type line struct {
	Type, Name, Host string
	GUID             string
	Excluded         bool
	Error            json.RawMessage
	Target           *struct{ Name, Host string }
	Verify           *struct {
		Result, GUID, Snapshot, From, Digest string
		At, Full                             *int64
	}
	Status *struct{ Verdict string }
}

// lines returns the records in the output. Text that is no record is a violation.
func (v *observer) lines(text string) (out []*line) {
	for l := range strings.Lines(text) {
		r := &line{}
		if err := json.Unmarshal([]byte(l), r); err != nil || !strings.HasSuffix(l, "\n") {
			if v.exit < 128 {
				v.add("no record: %s: %.200q", err, l)
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// named returns the records of datasets with the name of a source dataset.
func named(all []*line, name string) (out []*line) {
	for _, r := range all {
		if r.Type == "dataset" && r.Name == name {
			out = append(out, r)
		}
	}
	return out
}

// on returns the name of the record's dataset on a host.
func (r *line) on(host string) string {
	switch {
	case host == "src":
		return r.Name
	case r.Target == nil:
		return ""
	}
	return r.Target.Name
}

// checkProofs judges a run of zab-verify.
func (v *observer) checkProofs() {
	if !v.w.proves {
		return
	}
	if v.w.kind == "verify" {
		v.checkOnlyProves()
	}
	if v.w.fetch && slices.ContainsFunc(v.log, func(e Entry) bool { return e.Argv[0] == "zab-digest" }) {
		v.add("zab-digest of another host was used despite --fetch")
	}
	all := v.lines(v.stdout)
	for _, r := range all {
		if r.Type != "dataset" || r.Verify == nil {
			continue
		}
		switch r.Verify.Result {
		case "equal", "proved":
			if why := v.unproved(r); why != "" {
				v.add("'%s' is called %s, but %s", r.Name, r.Verify.Result, why)
			}
		case "different", "unproved":
			if r.Error == nil || v.exit == 0 {
				v.add("'%s' is called %s, but that is no error", r.Name, r.Verify.Result)
			}
		case "postponed":
			if !v.w.postpones && r.Error == nil {
				v.add("'%s' was not compared, but that is no error", r.Name)
			}
		case "":
			if r.Error == nil {
				v.add("'%s' has no result", r.Name)
			}
		default:
			v.add("'%s' has the result %q", r.Name, r.Verify.Result)
		}
	}
	if v.w.honestHost() == "dst" {
		v.checkMarks(all)
	}
	v.checkEvidence(all)
	if v.exit == 0 {
		v.checkAllProved(all)
	}
}

// checkOnlyProves checks that nothing changed but marks and the holds on what differs.
func (v *observer) checkOnlyProves() {
	for i := range v.log {
		e := &v.log[i]
		if len(e.Argv) < 2 || !forms[e.Argv[0]+" "+e.Argv[1]].writes && e.Argv[1] != "sync" {
			continue
		}
		c := &call{prog: e.Argv[0], sub: e.Argv[1]}
		_ = c.parse(e.Argv[2:], forms[c.prog+" "+c.sub].options)
		switch ops := c.operands; {
		case c.sub == "mount" && len(ops) == 0:
		case c.sub == "set" && e.Host == "dst" && len(ops) == 2 && strings.HasPrefix(ops[0], proofProp+"="):
		case (c.sub == "hold" || c.sub == "release") && len(c.opts) == 0 && len(ops) > 1 && ops[0] == differentTag:
		default:
			v.add("zab-verify changes the %s: %.300q", e.Host, e.Argv)
		}
	}
	honest := v.w.honestHost()
	for _, d := range v.before(honest).Datasets {
		now := v.after(honest).find(d.Name)
		if now == nil || !slices.EqualFunc(d.Snaps, now.Snaps, func(a, b *Snap) bool { return a.Name == b.Name && a.GUID == b.GUID }) {
			v.add("the snapshots of '%s' have changed", d.Name)
		}
	}
}

// unproved returns why a record is not right in calling its copy equal or proved.
func (v *observer) unproved(r *line) string {
	honest, hostile := v.w.honestHost(), v.w.hostile
	name := r.on(honest)
	if r.Target == nil || r.Target.Name != v.w.copyName(r.Name) {
		return "its copy is another dataset"
	}
	var snap *Snap
	for _, h := range []*Host{v.before(honest), v.after(honest)} {
		if d := h.find(name); d != nil {
			for _, s := range d.Snaps {
				if s.GUID == r.Verify.GUID {
					snap = s
				}
			}
		}
	}
	if snap == nil {
		return "'" + name + "' has no snapshot with the guid " + r.Verify.GUID
	}
	if r.Verify.Result == "proved" {
		return v.unmarked(r)
	}
	sent := func(host string) (out []string) {
		for i := range v.log {
			e := &v.log[i]
			if e.Host != host || len(e.Argv) < 3 || e.Argv[1] != "send" || e.Sent == nil || (r.Verify.From != "") != slices.Contains(e.Argv, "-i") {
				continue
			}
			if ds, _, _ := strings.Cut(e.Argv[len(e.Argv)-1], "@"); ds != r.on(host) {
				continue
			}
			if s, _ := readStream(e.Sent); s != nil && s.Snaps[0].GUID == r.Verify.GUID && told(e.Sent) != "" {
				out = append(out, string(e.Sent))
			}
		}
		return out
	}
	mine := sent(honest)
	if mine == nil {
		return "the honest side never sent it whole"
	}
	for _, a := range mine {
		for _, b := range sent(hostile) {
			if told([]byte(a)) == told([]byte(b)) {
				return ""
			}
		}
	}
	if v.w.fetch {
		return "the other side never sent the same"
	}
	// The digest of what the honest side sent.
	for i := range v.log {
		e := &v.log[i]
		var l struct{ Digest, GUID string }
		if e.Host != hostile || e.Argv[0] != "zab-digest" || json.Unmarshal([]byte(e.Said), &l) != nil || l.Digest != r.Verify.Digest || l.GUID != r.Verify.GUID {
			continue
		}
		for _, a := range mine {
			cmd := exec.Command(v.digest, e.Argv[2:]...)
			cmd.Stdin = strings.NewReader(a)
			text, err := cmd.Output()
			var true struct{ Digest string }
			if err == nil && json.Unmarshal(text, &true) == nil && true.Digest == l.Digest {
				return ""
			}
		}
	}
	return "the other side neither sent the same nor printed its digest"
}

// unmarked returns why no earlier proof is marked on a copy. A hostile target may say that
// one is.
func (v *observer) unmarked(r *line) string {
	if v.w.hostile == "dst" {
		return ""
	}
	c := v.dstBefore.find(r.Target.Name)
	if c == nil {
		return "there was no copy"
	}
	if c.Local[proofProp] == "" {
		return "the copy has no mark of its own"
	}
	m := proofValue.FindStringSubmatch(c.Local[proofProp])
	if m == nil || m[1] != r.Verify.GUID || m[3] == "different" || m[6] != r.GUID {
		return "its mark is " + c.Local[proofProp]
	}
	for _, s := range []string{m[2], m[4]} {
		if n, err := strconv.ParseInt(s, 10, 64); err != nil || n > now.Unix()+300 {
			return "its mark is of the future: " + c.Local[proofProp]
		}
	}
	for i, a := range v.w.args {
		if a == "--full-every=20d" && i >= 0 {
			if n, _ := strconv.ParseInt(m[4], 10, 64); n <= now.Unix()-20*86400 {
				return "it is to be compared in full again: " + c.Local[proofProp]
			}
		}
	}
	return ""
}

// checkMarks judges the marks on the honest target: each new one follows from a comparison
// in this run.
func (v *observer) checkMarks(all []*line) {
	for _, d := range v.dstAfter.Datasets {
		was := ""
		if b := v.dstBefore.find(d.Name); b != nil {
			was = b.Local[proofProp]
		}
		is := d.Local[proofProp]
		if is == was {
			continue
		}
		m := proofValue.FindStringSubmatch(is)
		if m == nil || m[2] != strconv.FormatInt(now.Unix(), 10) {
			v.add("'%s' has the mark %q", d.Name, is)
			continue
		}
		if !slices.ContainsFunc(all, func(r *line) bool {
			if r.Verify == nil || r.Target == nil || r.Target.Name != d.Name {
				return false
			}
			if m[6] != r.GUID {
				return false
			}
			if m[3] == "different" {
				return r.Verify.Result == "different"
			}
			return r.Verify.Result == "equal" && r.Verify.GUID == m[1] && (m[3] == "increment") == (r.Verify.From != "")
		}) && v.exit < 128 {
			v.add("'%s' was marked %q without such a result", d.Name, is)
		}
	}
}

// checkEvidence judges the holds on what differs: they come with a difference that was
// found, on the snapshot that has it, and go with a comparison that found none.
func (v *observer) checkEvidence(all []*line) {
	host := v.w.honestHost()
	found := func(d *Dataset, ok func(r *line) bool) bool {
		return slices.ContainsFunc(all, func(r *line) bool { return r.Verify != nil && r.on(host) == d.Name && ok(r) })
	}
	for _, d := range v.after(host).Datasets {
		before := v.before(host).find(d.Name)
		for _, s := range d.Snaps {
			was, is := before != nil && heldBefore(before, s, differentTag), slices.Contains(s.Holds, differentTag)
			switch {
			case is && !was && !found(d, func(r *line) bool { return r.Verify.Result == "different" && r.Verify.GUID == s.GUID }) && v.exit < 128:
				v.add("'%s@%s' is held by %s, and was not found different", d.Name, s.Name, differentTag)
			case was && !is && !found(d, func(r *line) bool { return r.Verify.Result == "equal" }) && v.exit < 128:
				v.add("'%s@%s' is not held by %s any more, and nothing was found equal", d.Name, s.Name, differentTag)
			}
		}
	}
}

// checkAllProved checks, after the exit status 0, that each selected dataset was proved.
func (v *observer) checkAllProved(all []*line) {
	fair := v.w.hostile == "src" && slices.ContainsFunc(v.log, func(e Entry) bool { return e.Fair })
	for _, r := range all {
		if r.Error != nil {
			v.add("exit status 0, but '%s' has an error", r.Name)
		}
	}
	for _, n := range v.w.selected {
		if fair || v.planted(n) {
			continue
		}
		switch list := named(all, n); {
		case len(list) != 1:
			v.add("exit status 0, but there are %d records of '%s'", len(list), n)
		case list[0].Verify == nil:
			v.add("exit status 0, but '%s' was not verified", n)
		case !slices.Contains([]string{"equal", "proved"}, list[0].Verify.Result) && !(v.w.postpones && list[0].Verify.Result == "postponed"):
			v.add("exit status 0, but '%s' is %s", n, list[0].Verify.Result)
		}
	}
}

// planted reports whether a dataset is that of who sets a user property to harm others,
// and harms only themselves.
func (v *observer) planted(name string) bool {
	return len(v.lies) > 0 && v.lies[0].Signature == userProperty && name == liarDataset
}
