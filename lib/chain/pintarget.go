package chain

import "strings"

// PinTarget tells for which target a hold stands, given its tag and the one that all
// targets of the backup share: it returns the guid of the dataset below which the
// copies are, and that of its pool where the tag has it. Of a tag that stands for no
// single target ok is false.
func PinTarget(tag, shared string) (dataset, pool string, ok bool) {
	rest, ok := strings.CutPrefix(tag, shared+":")
	if !ok {
		return "", "", false
	}
	dataset, pool, pooled := strings.Cut(rest, ".")
	if !isGUID(dataset) || pooled && !isGUID(pool) {
		return "", "", false
	}
	return dataset, pool, true
}

// WithoutPool is a pin without the guid of the pool, which a run that sends nothing
// need not know.
func WithoutPool(pin string) string {
	i := strings.LastIndexByte(pin, ':')
	if j := strings.IndexByte(pin[i+1:], '.'); j >= 0 && isGUID(pin[i+1:i+1+j]) && isGUID(pin[i+j+2:]) {
		return pin[:i+1+j]
	}
	return pin
}

func isGUID(s string) bool {
	return s != "" && len(s) <= 20 && strings.Trim(s, "0123456789") == ""
}
