package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/aside"
	"zab/lib/dataset"
)

// This file checks the fields of records, regardless of their origin. Stages act on
// records, so each name, guid, tag, flag and property must be valid in its place, or the
// whole line is refused.

// check returns an error unless commands can safely act on every field of the record.
func (r *Record) check() error {
	if r.Zab == 0 {
		return errors.New("not a record: the field \"zab\" with the format's version is missing")
	}
	if r.Zab != Version {
		return fmt.Errorf("format version %d is not known here, only %d", r.Zab, Version)
	}
	switch r.Type {
	case TypeDataset, TypeOrphan:
	case TypeUnlisted:
		// The error keeps stages from acting on the record, and from counting it as a
		// success.
		if r.Error == nil {
			return fmt.Errorf("a record of the type %q without the field \"error\"", r.Type)
		}
	default:
		return fmt.Errorf("unknown type %q", r.Type)
	}
	c := checker{}
	c.backup("backup", r.Backup)
	c.dataset("name", r.Name)
	c.host("host", r.Host)
	c.facts("", &r.Facts)
	c.guid("pool_guid", r.PoolGUID)
	if s := r.Source; s != nil {
		c.host("source.host", s.Host)
		if s.Name != "" {
			c.dataset("source.name", s.Name)
		}
	}
	c.snapshots("snapshots", r.Name, r.Snapshots)
	c.snapshots("bookmarks", r.Name, r.Bookmarks)
	if r.Snapshot != nil && r.Snapshot.Name != "" {
		c.short("snapshot.name", r.Snapshot.Name)
	}
	if t := r.Target; t != nil {
		c.target(t)
	}
	for i := range r.Steps {
		c.step(i, &r.Steps[i])
	}
	if x := r.Conflict; x != nil {
		c.snapshots("conflict.snapshots", "", x.Snapshots)
	}
	for i := range r.Results {
		c.result(i, &r.Results[i])
	}
	if t := r.Thin; t != nil {
		c.verdicts("thin.source", t.Source)
		c.waits(t.Waits)
		c.verdicts("thin.target", t.Target)
	}
	return c.err
}

// checker keeps the first error that its checks found.
type checker struct{ err error }

func (c *checker) fail(field string, err error) {
	if c.err == nil && err != nil {
		c.err = fmt.Errorf("field %s: %w", field, err)
	}
}

func (c *checker) dataset(field, s string) {
	_, err := dataset.ParseName(s)
	c.fail(field, err)
}

func (c *checker) short(field, s string) {
	_, err := dataset.ParseShort(s)
	c.fail(field, err)
}

// full checks the full name of a snapshot.
func (c *checker) full(field, s string) {
	_, err := dataset.ParseSnapshot(s)
	c.fail(field, err)
}

func (c *checker) host(field, s string) {
	_, err := dataset.ParseHost(s)
	c.fail(field, err)
}

func (c *checker) number(field, s string) {
	if s != "" {
		c.fail(field, dataset.CheckNumber(s))
	}
}

func (c *checker) guid(field, s string) {
	if s != "" {
		_, err := dataset.ParseGUID(s)
		c.fail(field, err)
	}
}

func (c *checker) tag(field, s string) {
	if s != "" {
		c.fail(field, dataset.CheckTag(s))
	}
}

func (c *checker) oneOf(field, s string, values ...string) {
	if s == "" {
		return
	}
	for _, v := range values {
		if s == v {
			return
		}
	}
	c.fail(field, fmt.Errorf("%q is none of %s", s, strings.Join(values, ", ")))
}

func (c *checker) amount(field string, n *int64) {
	if isNegative(n) {
		c.fail(field, fmt.Errorf("%d is negative", *n))
	}
}

func isNegative(n *int64) bool { return n != nil && *n < 0 }

// backup checks the name of a backup. The name becomes part of the name of a user
// property, which allows the fewest characters.
func (c *checker) backup(field, s string) {
	if s == "" {
		return
	}
	if len(s) > dataset.MaxName || s[0] == '-' || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789:._-") != "" {
		c.fail(field, fmt.Errorf("%q is not the name of a backup", s))
	}
}

func (c *checker) facts(prefix string, f *Facts) {
	c.guid(prefix+"guid", f.GUID)
	c.number(prefix+"createtxg", f.CreateTXG)
	c.oneOf(prefix+"kind", f.Kind, "filesystem", "volume")
	if f.Origin != "" {
		c.full(prefix+"origin", f.Origin)
	}
	if f.EncryptionRoot != "" {
		c.dataset(prefix+"encryptionroot", f.EncryptionRoot)
	}
	c.oneOf(prefix+"keystatus", f.KeyStatus, "none", "available", "unavailable")
	c.number(prefix+"keyguid", f.KeyGUID)
	c.oneOf(prefix+"mounted", f.Mounted, "yes", "no")
	c.oneOf(prefix+"canmount", f.CanMount, "on", "off", "noauto")
	for _, a := range []struct {
		name string
		n    *int64
	}{{"written", f.Written}, {"used", f.Used}, {"referenced", f.Referenced}, {"logicalreferenced", f.LogicalReferenced}, {"volsize", f.VolSize}} {
		c.amount(prefix+a.name, a.n)
	}
	c.token(prefix+"receive_resume_token", f.ResumeToken)
	for _, m := range []struct {
		name, value string
		check       func(string) error
	}{{"zab:from", f.From, CheckFrom}, {"zab:stream", f.Stream, CheckStream}, {"zab:aside", f.Aside, aside.CheckMark}, {"zab:pool", f.Pool, CheckPool}} {
		if m.value != "" {
			c.fail(prefix+m.name, m.check(m.value))
		}
	}
}

// maxPools is how many pools zab:from may name: more than any copy comes through, and few
// enough that the value, to which each pool adds its guid, stays far from the longest that
// zfs allows.
const maxPools = 64

// CheckFrom returns an error unless s is a value that zab writes to the property
// zab:from: the guids of at most 64 pools, each once.
func CheckFrom(s string) error {
	guids, err := dataset.ParseGUIDs(s)
	switch {
	case err != nil:
		return err
	case len(guids) > maxPools:
		return fmt.Errorf("%.80q... names %d pools, more than %d", s, len(guids), maxPools)
	}
	for i, g := range guids {
		if slices.Contains(guids[:i], g) {
			return fmt.Errorf("%.80q names the pool with the guid %s twice", s, g)
		}
	}
	return nil
}

// CheckPool returns an error unless s is a value that zab writes to the property
// zab:pool.
func CheckPool(s string) error {
	_, err := dataset.ParseGUID(s)
	return err
}

// CheckStream returns an error unless s is a value that zab writes to the property
// zab:stream.
func CheckStream(s string) error {
	if s == "none" || s == "parent" {
		return nil
	}
	flags := "L,w,x"
	for f := range strings.SplitSeq(s, ",") {
		_, rest, ok := strings.Cut(flags, f) // each once, in this order
		if !ok || len(f) != 1 || f == "," {
			return fmt.Errorf("%q is none of the flags of a stream", s)
		}
		flags = rest
	}
	return nil
}

func (c *checker) token(field, s string) {
	if s != "" && (s[0] == '-' || strings.Trim(s, "0123456789abcdef-") != "") {
		c.fail(field, fmt.Errorf("%.80q is not a resume token", s))
	}
}

// snapshots checks a list of snapshots or bookmarks of the dataset called of. If of is
// "", the dataset is unknown, since the snapshots of a conflict may be on either side;
// then only the lengths of the short names are checked.
func (c *checker) snapshots(field, of string, list []Snapshot) {
	for i := range list {
		s := &list[i]
		if c.err != nil {
			return
		}
		// Format the field's name only for an error: lists are long.
		if _, err := dataset.ParseShort(s.Name); err != nil {
			c.fail(fmt.Sprintf("%s[%d].name", field, i), err)
		}
		if len(of)+1+len(s.Name) > dataset.MaxName {
			c.fail(fmt.Sprintf("%s[%d].name", field, i), fmt.Errorf("the snapshot's name with that of its dataset is longer than %d bytes", dataset.MaxName))
		}
		if !isNumber(s.GUID) {
			c.guid(field+".guid", s.GUID)
		}
		if !isNumber(s.CreateTXG) {
			c.number(field+".createtxg", s.CreateTXG)
		}
		if isNegative(s.Written) || isNegative(s.UserRefs) {
			c.amount(field+".written", s.Written)
			c.amount(field+".userrefs", s.UserRefs)
		}
		for _, h := range s.Rare().Held {
			c.tag(field+".held.tag", h.Tag)
			c.guid(field+".held.target_guid", h.TargetGUID)
			c.guid(field+".held.target_pool_guid", h.TargetPoolGUID)
			if h.Target != "" {
				c.dataset(field+".held.target", h.Target)
			}
		}
	}
}

// isNumber reports whether s is "" or a decimal number of fewer than 20 digits without a
// leading zero, which therefore fits 64 bits. A quick test: other numbers are parsed.
func isNumber(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) < 20 && (s == "" || s[0] != '0')
}

func (c *checker) target(t *Target) {
	c.dataset("target.name", t.Name)
	c.host("target.host", t.Host)
	c.guid("target.zpool_guid", t.ZPoolGUID)
	c.facts("target.", &t.Facts)
	c.snapshots("target.snapshots", t.Name, t.Snapshots)
	c.snapshots("target.bookmarks", t.Name, t.Bookmarks)
	if t.Elsewhere != "" {
		c.dataset("target.elsewhere", t.Elsewhere)
	}
	c.guid("target.elsewhere_guid", t.ElsewhereGUID)
	c.tag("target.pin", t.Pin)
	c.tag("target.old_pin", t.OldPin)
	if x := t.Resume; x != nil {
		c.token("target.resume.token", x.Token)
		c.guid("target.resume.toguid", x.ToGUID)
		c.guid("target.resume.fromguid", x.FromGUID)
	}
}

func (c *checker) step(i int, s *Step) {
	field := fmt.Sprintf("steps[%d].", i)
	c.oneOf(field+"side", s.Side, SideSource, SideTarget)
	if s.Dataset != "" {
		c.dataset(field+"dataset", s.Dataset)
	}
	if s.Snapshot != "" {
		c.short(field+"snapshot", s.Snapshot)
	}
	if s.To != "" {
		c.short(field+"to", s.To)
	}
	c.tag(field+"tag", s.Tag)
	if s.From != "" && s.Do == DoRename {
		c.dataset(field+"from", s.From)
	} else if s.From != "" {
		if strings.Contains(s.From, "@") {
			c.full(field+"from", s.From)
		} else {
			c.short(field+"from", strings.TrimPrefix(s.From, "#"))
		}
	}
	if s.Origin != "" {
		c.full(field+"origin", s.Origin)
	}
	for _, t := range s.Through {
		c.short(field+"through", t.Name)
		c.guid(field+"through.guid", t.GUID)
	}
	for _, g := range []struct{ name, guid string }{{"guid", s.GUID}, {"from_guid", s.FromGUID}, {"to_guid", s.ToGUID}} {
		c.guid(field+g.name, g.guid)
	}
	for _, p := range s.Set {
		c.fail(field+"set", dataset.CheckSetting(p))
	}
	for _, p := range s.Exclude {
		c.fail(field+"exclude", dataset.CheckProperty(p))
	}
	c.token(field+"token", s.Token)
	c.oneOf(field+"undo", s.Undo, UndoChanges, UndoReads)
	c.amount(field+"bytes", s.Bytes)
}

func (c *checker) result(i int, x *Result) {
	field := fmt.Sprintf("results[%d].", i)
	if x.Step < 0 {
		c.fail(field+"step", fmt.Errorf("%d is negative", x.Step))
	}
	if x.To != "" {
		c.short(field+"to", x.To)
	}
	c.guid(field+"guid", x.GUID)
	c.amount(field+"bytes", x.Bytes)
}

func (c *checker) waits(list []Wait) {
	for i := range list {
		w := &list[i]
		field := fmt.Sprintf("thin.waits[%d].", i)
		c.oneOf(field+"side", w.Side, SideSource, SideTarget)
		c.short(field+"snapshot", w.Snapshot)
		c.tag(field+"tag", w.Tag)
		c.tag(field+"also", w.Also)
	}
}

func (c *checker) verdicts(field string, list []Verdict) {
	for i := range list {
		if c.err != nil {
			return
		}
		if _, err := dataset.ParseShort(list[i].Name); err != nil {
			c.fail(fmt.Sprintf("%s[%d].name", field, i), err)
		}
	}
}
