package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// Host is an ssh destination; "" is this machine.
type Host string

// ParseHost takes what ssh destinations are made of: [USER@]HOST, an alias of
// ssh's configuration, an address of IPv4 or IPv6, or ssh://[USER@]HOST[:PORT].
// Anything else, above all what a shell gives a meaning, is refused.
func ParseHost(s string) (Host, error) {
	switch {
	case strings.HasPrefix(s, "-"):
		return "", fmt.Errorf("%q is not a host: it begins with a dash", s)
	case len(s) > MaxName:
		return "", fmt.Errorf("the host %s is longer than %d bytes", brief(s), MaxName)
	}
	for i := 0; i < len(s); i++ {
		b := s[i]
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case strings.IndexByte("@._-:[]%+", b) >= 0:
		case b == '/' && (i == 4 || i == 5) && strings.HasPrefix(s, "ssh://"):
		case b <= ' ' || b == 0x7f:
			return "", fmt.Errorf("%s is not a host: it contains white space or a control character", brief(s))
		default:
			return "", fmt.Errorf("%s is not a host: it contains %q", brief(s), s[i:i+1])
		}
	}
	if strings.HasSuffix(s, "@") || strings.HasSuffix(s, "/") {
		return "", errors.New("the host's name is missing after " + brief(s))
	}
	return Host(s), nil
}
