package stream

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes on the command line, as mbuffer takes them: digits
// and perhaps one of k, M, G, T, each 1024 times the one before.
type Size int64

const sizeUnits = "kMGT"

// ParseSize reads a Size of at least 1.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, sizeUnits+"Kmgt")
	unit := s[len(digits):]
	bad := func(why string) (Size, error) {
		return 0, fmt.Errorf("%q is not a size: %s; write digits and perhaps k, M, G or T, such as 128M", s, why)
	}
	if s == "" {
		return bad("it is empty")
	}
	if s[0] == '-' {
		return bad("it is negative")
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return bad("it is not a whole number")
	}
	if len(unit) > 1 {
		return bad("it has more than one unit")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return bad("it is too large")
	}
	if unit != "" {
		shift := 10 * (1 + strings.Index(sizeUnits, normalUnit(unit)))
		if n > math.MaxInt64>>shift {
			return bad("it is too large")
		}
		n <<= shift
	}
	if n == 0 {
		return bad("it must be more than 0")
	}
	return Size(n), nil
}

// UnmarshalFlag parses the value of an option.
func (s *Size) UnmarshalFlag(text string) (err error) {
	*s, err = ParseSize(text)
	return err
}

func normalUnit(u string) string {
	if strings.EqualFold(u, "k") {
		return "k"
	}
	return strings.ToUpper(u)
}

// String returns the size in the largest unit that keeps it exact, as ParseSize and
// mbuffer read it.
func (s Size) String() string {
	n, unit := int64(s), ""
	for i := 0; i < len(sizeUnits) && n != 0 && n%1024 == 0; i++ {
		n, unit = n/1024, sizeUnits[i:i+1]
	}
	return strconv.FormatInt(n, 10) + unit
}
