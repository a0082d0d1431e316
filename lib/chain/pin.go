package chain

import (
	"strings"

	"zab/lib/dataset"
)

// Pin is the tag of holds that stand for one target alone: the tag of the backup,
// the guid of the dataset that all copies are below, and the guid of its pool.
//
// The guid of the dataset alone is not unique: disks that were made from one another,
// by zpool split, from an image, or from half of a mirror, have it in common. Their
// pool guids differ: zpool split sets a new one, and so does zpool reguid.
type Pin struct {
	Tag, Dataset string
	// Pool is absent in a pin of earlier versions, and where the pool's guid is not
	// known.
	Pool string
}

// String returns the pin as a tag: TAG:DATASET.POOL, or TAG:DATASET where the pool's guid
// is not known or the longer form is too long. It returns "" where the dataset's guid is
// not known, or where even the shorter form is too long for a tag.
func (p Pin) String() string {
	if p.Dataset == "" {
		return ""
	}
	s := p.Tag + ":" + p.Dataset
	if full := s + "." + p.Pool; p.Pool != "" && len(full) <= dataset.MaxName {
		return full
	}
	if len(s) > dataset.MaxName {
		return ""
	}
	return s
}

// Former returns the pin that earlier versions used for the same dataset, or "" where p
// is that itself.
func (p Pin) Former() string {
	if s := (Pin{Tag: p.Tag, Dataset: p.Dataset}).String(); s != p.String() {
		return s
	}
	return ""
}

// ParsePin parses a tag; ok is false if it does not have the form of a pin.
func ParsePin(s string) (p Pin, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 1 {
		return p, false
	}
	p.Tag = s[:i]
	if p.Dataset, p.Pool, ok = guids(s[i+1:]); !ok {
		return Pin{}, false
	}
	return p, true
}

// guids parses the part of a pin after the backup's tag: DATASET.POOL, or DATASET.
func guids(s string) (of, pool string, ok bool) {
	of, pool, pooled := strings.Cut(s, ".")
	if _, err := dataset.ParseGUID(of); err != nil {
		return "", "", false
	}
	if _, err := dataset.ParseGUID(pool); pooled && err != nil {
		return "", "", false
	}
	return of, pool, true
}

// PinTarget returns the target for which a hold stands, given its tag and the tag that
// all targets of the backup share: the guid of the dataset below which the copies are,
// and the guid of its pool where the tag has it. ok is false for a tag that stands for no
// single target.
func PinTarget(tag, shared string) (of, pool string, ok bool) {
	rest, ok := strings.CutPrefix(tag, shared+":")
	if !ok {
		return "", "", false
	}
	return guids(rest)
}

// WithoutPool returns a pin without the guid of the pool, which a run that sends nothing
// need not know.
func WithoutPool(pin string) string {
	i := strings.LastIndexByte(pin, ':')
	if of, _, ok := guids(pin[i+1:]); ok {
		return pin[:i+1] + of
	}
	return pin
}

// OfCopy reports whether a hold with the tag other, on a snapshot of the target, stands
// for the target with this pin, in any pool: every pool that a copy has ever been in
// counts as its own.
func (p Pin) OfCopy(other string) bool {
	o, ok := ParsePin(other)
	return ok && o.Tag == p.Tag && o.Dataset == p.Dataset
}
