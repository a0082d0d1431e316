package chain

import (
	"strings"

	"zab/lib/dataset"
)

// Pin is the tag of holds that stand for one target alone: the tag of the backup,
// the guid of the dataset that all copies are below, and the guid of its pool.
//
// The guid of the dataset alone does not do: disks that were made from one another,
// by zpool split, from an image, or from a mirror's half, have it in common. Their
// pools' guids differ: zpool split gives a new one, and so does zpool reguid.
type Pin struct {
	Tag, Dataset string
	// Pool is absent in a pin of earlier versions, and where the pool's guid is not
	// known.
	Pool string
}

// String is the pin as a tag: TAG:DATASET.POOL, or TAG:DATASET. "" where the dataset's
// guid is not known, or where even the shorter form is too long for a tag.
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

// Former is the pin that earlier versions put for the same dataset; "" where p is
// that itself.
func (p Pin) Former() string {
	if s := (Pin{Tag: p.Tag, Dataset: p.Dataset}).String(); s != p.String() {
		return s
	}
	return ""
}

// ParsePin takes a tag apart that has the form of a pin.
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

// guids reads what follows the backup's tag in a pin: DATASET.POOL, or DATASET.
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

// PinTarget tells for which target a hold stands, given its tag and the one that all
// targets of the backup share: it returns the guid of the dataset below which the
// copies are, and that of its pool where the tag has it. Of a tag that stands for no
// single target ok is false.
func PinTarget(tag, shared string) (of, pool string, ok bool) {
	rest, ok := strings.CutPrefix(tag, shared+":")
	if !ok {
		return "", "", false
	}
	return guids(rest)
}

// WithoutPool is a pin without the guid of the pool, which a run that sends nothing
// need not know.
func WithoutPool(pin string) string {
	i := strings.LastIndexByte(pin, ':')
	if of, _, ok := guids(pin[i+1:]); ok {
		return pin[:i+1] + of
	}
	return pin
}

// OfCopy reports whether a hold on a snapshot of the target with the tag other
// stands for the target with this pin: every pool that a copy has ever been in
// is its own.
func (p Pin) OfCopy(other string) bool {
	o, ok := ParsePin(other)
	return ok && o.Tag == p.Tag && o.Dataset == p.Dataset
}
