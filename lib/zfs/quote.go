package zfs

import "strings"

// Quote quotes words so that every login shell reads them unchanged: those of POSIX,
// bash, zsh, csh, tcsh and fish. It is the only function that quotes.
//
// Between single quotes csh looks for events after "!", and fish takes a backslash for
// the beginning of an escape, so these two are placed outside of the quotes, where a
// backslash before them means the same to all shells. A newline between quotes is an
// error in csh; see loginLine.
func Quote(argv ...string) string {
	var b strings.Builder
	for i, w := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		quoteWord(&b, w)
	}
	return b.String()
}

func quoteWord(b *strings.Builder, w string) {
	if plain(w) {
		b.WriteString(w)
		return
	}
	open := false
	quote := func(on bool) {
		if open != on {
			b.WriteByte('\'')
			open = on
		}
	}
	for i := range len(w) {
		if c := w[i]; c == '\'' || c == '\\' || c == '!' {
			quote(false)
			b.WriteByte('\\')
		} else {
			quote(true)
		}
		b.WriteByte(w[i])
	}
	quote(false)
	if w == "" {
		b.WriteString("''")
	}
}

// plain reports whether a word means itself to all shells. A leading "=" is a
// program's path to zsh, and a leading "%" a job to fish.
func plain(w string) bool {
	for i := range len(w) {
		switch c := w[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("_+:,./-", c) >= 0:
		case strings.IndexByte("@%=", c) >= 0 && i > 0:
		default:
			return false
		}
	}
	return w != ""
}

// loginLine returns the command line for the login shell of a user on another host. Its
// programs print messages in the C locale, which this package parses. csh does not accept
// a newline between quotes, so a line with one is sent as a format of printf that makes
// it.
func loginLine(argv []string) string {
	argv = append([]string{"env", "LC_ALL=C"}, argv...)
	line := Quote(argv...)
	if !strings.Contains(line, "\n") {
		return line
	}
	format := strings.NewReplacer(`\`, `\\`, `%`, `%%`, "\n", `\n`).Replace(line)
	// The dot keeps newlines at the end, which $() would drop.
	return Quote("/bin/sh", "-c", `x=$(printf "$0."); eval "${x%.}"`, format)
}
