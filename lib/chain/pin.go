package chain

import "strings"

// PinTarget returns the guid of the dataset below which the copies of the target
// are that a hold stands for, given its tag and the one that all targets of the
// backup share; of a tag that stands for no single target ok is false.
func PinTarget(tag, shared string) (guid string, ok bool) {
	guid, ok = strings.CutPrefix(tag, shared+":")
	if !ok || guid == "" || len(guid) > 20 || strings.Trim(guid, "0123456789") != "" {
		return "", false
	}
	return guid, true
}
