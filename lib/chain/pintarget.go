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

func isGUID(s string) bool {
	return s != "" && len(s) <= 20 && strings.Trim(s, "0123456789") == ""
}
