package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// This file replaces records that cannot be written. Their values come from users and
// other hosts, such as a property with bytes that JSON does not allow. Readers stop at
// the first line that they refuse, so such a record must not be written, but those after
// it must.

// legible returns a copy of the record in which all text that is only for people is valid
// UTF-8. Messages of programs and names of files can be in any encoding, and are no reason
// to fail a record.
func (r *Record) legible() *Record {
	c := *r
	c.Reason = legible(r.Reason)
	c.Warnings = allLegible(r.Warnings)
	c.Error = r.Error.legible()
	if r.Snapshot != nil {
		m := *r.Snapshot
		m.Error = m.Error.legible()
		c.Snapshot = &m
	}
	c.Steps = slices.Clone(r.Steps)
	for i := range c.Steps {
		c.Steps[i].Why = legible(c.Steps[i].Why)
	}
	if r.Conflict != nil {
		x := *r.Conflict
		x.Message, x.Remedies = legible(x.Message), allLegible(x.Remedies)
		c.Conflict = &x
	}
	c.Results = slices.Clone(r.Results)
	for i := range c.Results {
		x := &c.Results[i]
		x.Message, x.Commands = legible(x.Message), allLegible(x.Commands)
	}
	if r.Thin != nil {
		t := *r.Thin
		t.Source, t.Target, t.Dataset = legibleVerdicts(t.Source), legibleVerdicts(t.Target), legible(t.Dataset)
		c.Thin = &t
	}
	return &c
}

func (e *Error) legible() *Error {
	if e == nil {
		return nil
	}
	c := *e
	c.Message, c.Hint = legible(e.Message), legible(e.Hint)
	return &c
}

func legibleVerdicts(list []Verdict) []Verdict {
	out := slices.Clone(list)
	for i := range out {
		out[i].Why = allLegible(out[i].Why)
	}
	return out
}

func legible(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func allLegible(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = legible(out[i])
	}
	return out
}

// unwritable returns the failed record that is written in the place of one that cannot be
// written because of err: the same dataset with the same target, without steps.
func (r *Record) unwritable(stage string, err error) *Record {
	s := r.bare(stage, err)
	s.Backup, s.PoolGUID = r.Backup, r.PoolGUID
	s.Kind, s.GUID = r.Kind, r.GUID
	if r.Source != nil {
		s.Source = &Source{Host: r.Source.Host, Name: r.Source.Name}
	}
	if t := r.Target; t != nil {
		s.Target = &Target{Host: t.Host, Name: t.Name, Exists: t.Exists}
	}
	return s
}

// bare is unwritable with no more than what tells which dataset it is, for a record where
// one of the other fields is the culprit.
func (r *Record) bare(stage string, err error) *Record {
	s := &Record{Zab: Version, Type: r.Type, Host: r.Host, Name: r.Name, Selected: r.Selected, Excluded: r.Excluded, Partial: r.Partial}
	message := fmt.Sprintf("cannot write the record of '%s', and nothing more is done for this dataset: %s", r.Name, err)
	if e := r.Error; e != nil {
		// The first error is the cause.
		s.Error = &Error{Stage: legible(e.Stage), Kind: ErrorKind(legible(string(e.Kind))), Message: legible(e.Message), Hint: legible(e.Hint)}
		s.Warn("%s", message)
		return s
	}
	s.Fail(Error{Stage: stage, Kind: KindBadArgument, Message: message,
		Hint: "find the value in what 'zfs get all' and 'zfs list -t all' print of this dataset, change it, and run again"})
	return s
}

// unencodable says, in words like those of check, which field the JSON library refused,
// and why.
func unencodable(err error) error {
	var at jsontext.Pointer
	why := err
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at, why = e.JSONPointer, e.Err
	} else if e, ok := errors.AsType[*json.SemanticError](err); ok {
		at, why = e.JSONPointer, e.Err
	}
	if at == "" || why == nil {
		return tidy(err)
	}
	field := ""
	for part := range at.Tokens() {
		switch {
		case strings.Trim(part, "0123456789") == "":
			field += "[" + part + "]"
		case field == "":
			field = part
		default:
			field += "." + part
		}
	}
	return fmt.Errorf("field %s: %s", field, strings.TrimPrefix(why.Error(), "jsontext: "))
}
