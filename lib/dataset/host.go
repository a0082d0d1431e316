package dataset

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const maxHost = 320

// Host is an ssh destination; "" is this machine.
type Host string

// ParseHost returns an error unless s is an ssh destination, [USER@]HOST or
// ssh://[USER@]HOST[:PORT], where HOST is a name, as in ssh's configuration, or an
// address. Names consist of ASCII letters, digits and "._+-": other characters may mean
// something to a shell, to ssh's configuration or to a terminal.
func ParseHost(s string) (Host, error) {
	if s == "" {
		return "", nil
	}
	if err := checkHost(s); err != nil {
		return "", fmt.Errorf("%+q is not a host: %w", s, err)
	}
	return Host(s), nil
}

// UnmarshalFlag parses the value of an option.
func (h *Host) UnmarshalFlag(s string) (err error) {
	*h, err = ParseHost(s)
	return err
}

func checkHost(s string) error {
	if len(s) > maxHost {
		return fmt.Errorf("it is longer than %d bytes", maxHost)
	}
	rest, uri := strings.CutPrefix(s, "ssh://")
	user, rest, given := cutLast(rest, "@")
	if given {
		// A user's name may contain an @ itself, as a user of a domain.
		for part := range strings.SplitSeq(user, "@") {
			if err := checkHostName(part); err != nil {
				return err
			}
		}
	}
	name := rest
	if uri {
		if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
			name = rest[:i]
			if n, err := strconv.ParseUint(rest[i+1:], 10, 16); err != nil || n == 0 || rest[i+1] == '+' {
				return fmt.Errorf("%+q is not a port", rest[i+1:])
			}
		}
		if strings.Contains(name, ":") && !strings.HasPrefix(name, "[") {
			return errors.New("an address with colons stands between [ and ] there")
		}
	}
	inner, open := strings.CutPrefix(name, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if open && closed || strings.Contains(name, ":") && !open && !closed {
		if isAddress(inner) {
			return nil
		}
		if host, what, ok := strings.Cut(rest, ":"); ok && !open && checkHostName(host) == nil {
			if _, err := strconv.ParseUint(what, 10, 16); err == nil {
				return fmt.Errorf("a port is given as in %q", "ssh://"+s)
			}
			if _, err := ParseName(what); err == nil {
				return fmt.Errorf("a host and a dataset are given apart, as %q and %q", strings.TrimSuffix(s, ":"+what), what)
			}
		}
		return fmt.Errorf("%+q is not an address of IPv6", inner)
	}
	return checkHostName(name)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// isAddress reports whether s is an IPv6 address, with or without a zone.
func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && (a.Zone() == "" || checkHostName(a.Zone()) == nil)
}

func checkHostName(s string) error {
	switch {
	case s == "":
		return errors.New("a part of it is empty")
	case s[0] == '-':
		return errors.New("a part of it begins with a dash")
	}
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("._+-", r):
		default:
			return fmt.Errorf("it contains %+q", string(r))
		}
	}
	return nil
}
