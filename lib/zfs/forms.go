package zfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// This file has every form of command that zab gives to zfs and zpool, on any host, and
// the check of each of their words. A word that its place does not allow is an error
// before anything is done, wherever it came from. Only the shell code in epoch.go and
// paths.go names zpool and zfs besides, in commands that never vary.

// form is a command with its options and operands.
type form struct {
	// flags are the options without a value: one letter each, which may be joined.
	flags string
	// values are the options with a value.
	values map[string]check
	// operands are the checks of the operands in order. With more, the last one may
	// be repeated; with optional, it may be missing.
	operands       []check
	more, optional bool
	// inOrder, if set, checks all operands instead of the above.
	inOrder func(operands []string) error
}

type check func(word string) error

// forms are the commands by name and subcommand.
var forms = map[string]form{
	"zfs get": {flags: "Hpr", values: map[string]check{"-d": argNumber, "-t": argWords, "-o": argWords, "-s": argWords},
		operands: []check{argProperties, argDataset}, more: true, optional: true},
	"zfs list": {flags: "Hpr", values: map[string]check{"-d": argNumber, "-t": argWords, "-o": argProperties, "-s": argWords},
		operands: []check{argNameOrPoint}, more: true, optional: true},
	"zfs holds": {flags: "H", operands: []check{argSnapshot}, more: true},
	"zfs mount": {values: map[string]check{"-o": argWords}, operands: []check{argDataset}, optional: true},
	"zfs diff":  {flags: "H", operands: []check{argSnapshot, argDataset}},
	"zfs send": {flags: "nPLcpw", values: map[string]check{"-i": argNameOrPoint, "-I": argNameOrPoint, "-t": argToken},
		operands: []check{argSnapshot}, optional: true},
	"zfs receive": {flags: "usFhA", values: map[string]check{"-x": argProperty, "-o": argSetting}, operands: []check{argNameOrPoint}},

	"zfs snapshot": {values: map[string]check{"-o": argSetting}, operands: []check{argSnapshot}, more: true},
	"zfs program": {flags: "jn", values: map[string]check{"-t": argNumber, "-m": argNumber},
		operands: []check{argPool, argExactly("-")}},
	"zfs bookmark": {operands: []check{argPoint, argBookmark}},
	"zfs hold":     {flags: "r", operands: []check{dataset.CheckTag, argSnapshot}, more: true},
	"zfs release":  {flags: "r", operands: []check{dataset.CheckTag, argSnapshot}, more: true},
	"zfs destroy":  {operands: []check{argNameOrPoints}},
	"zfs create":   {values: map[string]check{"-o": argOwnSetting}, operands: []check{argDataset}},
	"zfs set":      {inOrder: settingsThenNames},
	"zfs inherit":  {flags: "S", operands: []check{argProperty, argDataset}, more: true},
	"zfs rollback": {operands: []check{argSnapshot}},
	"zfs rename":   {flags: "u", operands: []check{argDataset, argDataset}},
	"zfs clone":    {values: map[string]check{"-o": argSetting}, operands: []check{argSnapshot, argDataset}},
	"zfs promote":  {operands: []check{argDataset}},
	"zfs unmount":  {operands: []check{argDataset}},

	"zpool get":    {flags: "Hp", values: map[string]check{"-o": argWords}, operands: []check{argProperties, argPool}, more: true, optional: true},
	"zpool list":   {flags: "Hp", values: map[string]check{"-o": argWords}, operands: []check{argPool}, more: true, optional: true},
	"zpool status": {flags: "v", operands: []check{argPool}},
	"zpool sync":   {operands: []check{argPool}, more: true, optional: true},
}

// CheckArgv refuses a command of zfs or zpool that zab does not use, or that has a word
// which its place does not allow; it accepts all other programs. Its error is an *Error
// of record.KindBadArgument.
func CheckArgv(argv []string) error {
	if len(argv) == 0 || argv[0] != "zfs" && argv[0] != "zpool" {
		return nil
	}
	if err := checkForm(argv); err != nil {
		return badArgument(fmt.Errorf("%s was not started: %w", strings.Join(argv[:min(2, len(argv))], " "), err))
	}
	return nil
}

func badArgument(err error) error {
	return &Error{Kind: record.KindBadArgument, Code: -1, Lines: []string{err.Error()}}
}

func checkForm(argv []string) error {
	if len(argv) < 2 {
		return errors.New("it has no subcommand")
	}
	f, ok := forms[argv[0]+" "+argv[1]]
	if !ok {
		return errors.New("it is none of the commands that this version uses")
	}
	rest := argv[2:]
	for len(rest) > 0 && len(rest[0]) > 1 && rest[0][0] == '-' {
		opt := rest[0]
		rest = rest[1:]
		if check := f.values[opt]; check != nil {
			if len(rest) == 0 {
				return fmt.Errorf("the value of %s is missing", opt)
			}
			if err := check(rest[0]); err != nil {
				return fmt.Errorf("the value of %s: %w", opt, err)
			}
			rest = rest[1:]
			continue
		}
		if strings.Trim(opt[1:], f.flags) != "" {
			return fmt.Errorf("%q is not an option that is used", opt)
		}
	}
	if f.inOrder != nil {
		return f.inOrder(rest)
	}
	least := len(f.operands)
	if f.optional {
		least--
	}
	if len(rest) < least || len(rest) > len(f.operands) && !f.more {
		return fmt.Errorf("it has %d operands", len(rest))
	}
	for i, w := range rest {
		if err := f.operands[min(i, len(f.operands)-1)](w); err != nil {
			return err
		}
	}
	return nil
}

func argDataset(s string) error {
	_, err := dataset.ParseName(s)
	return err
}

func argPool(s string) error {
	if strings.Contains(s, "/") {
		return fmt.Errorf("%q is not a pool", s)
	}
	return argDataset(s)
}

func argPoint(s string) error {
	_, err := dataset.ParsePoint(s)
	return err
}

func argSnapshot(s string) error {
	_, err := dataset.ParseSnapshot(s)
	return err
}

func argBookmark(s string) error {
	_, err := dataset.ParseBookmark(s)
	return err
}

func argNameOrPoint(s string) error {
	if isPoint(s) {
		return argPoint(s)
	}
	return argDataset(s)
}

// argNameOrPoints also takes several snapshots of one dataset: tank/a@1,2,3.
func argNameOrPoints(s string) error {
	ds, list, ok := strings.Cut(s, "@")
	if !ok {
		return argNameOrPoint(s)
	}
	for short := range strings.SplitSeq(list, ",") {
		if err := argSnapshot(ds + "@" + short); err != nil {
			return err
		}
	}
	return nil
}

func argProperty(s string) error { return dataset.CheckProperty(s) }

// argProperties takes names separated by commas.
func argProperties(s string) error {
	for p := range strings.SplitSeq(s, ",") {
		if err := argProperty(p); err != nil {
			return err
		}
	}
	return nil
}

func argSetting(s string) error { return dataset.CheckSetting(s) }

// settingsThenNames checks the operands of zfs set. zab uses zfs set only for the
// properties of argOwnSetting; all others come with zfs receive.
func settingsThenNames(operands []string) error {
	settings := 0
	for _, w := range operands {
		if !strings.Contains(w, "=") {
			break
		}
		if err := argOwnSetting(w); err != nil {
			return err
		}
		settings++
	}
	if settings == 0 || settings == len(operands) {
		return errors.New("it needs settings and then datasets")
	}
	for _, w := range operands[settings:] {
		if err := argDataset(w); err != nil {
			return err
		}
	}
	return nil
}

// argOwnSetting takes the properties that zab sets by its own rules: its marks,
// keylocation back to prompt, and settings that keep a copy from being mounted or from
// reserving space.
func argOwnSetting(s string) error {
	if err := argSetting(s); err != nil {
		return err
	}
	name, value, _ := strings.Cut(s, "=")
	switch name {
	case ProofProp:
		_, err := record.ParseProof(value)
		return err
	case FromProp, StreamProp, AsideProp, PoolProp, MissingProp:
		if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' && r != ' ' || r == 0x7f }) {
			return fmt.Errorf("%q contains a control character", s)
		}
		return nil
	case "canmount":
		if value == "noauto" || value == "off" {
			return nil
		}
	case "keylocation":
		if value == "prompt" {
			return nil
		}
	case "reservation", "refreservation":
		if isAmountOr("none", "auto")(value) {
			return nil
		}
	}
	return fmt.Errorf("%q is not one of the properties that are set on copies", s)
}

func argNumber(s string) error {
	if !isNumber(s) {
		return fmt.Errorf("%q is not a number", s)
	}
	return nil
}

// argWords takes words that zab itself writes, such as filesystem,volume.
func argWords(s string) error {
	if !isWord(strings.ReplaceAll(s, ",", "")) {
		return fmt.Errorf("%q is not a word of an option", s)
	}
	return nil
}

func argToken(s string) error {
	if !isTokenText(s) {
		return fmt.Errorf("%q is not a resume token", cutText(s))
	}
	return nil
}

func argExactly(one ...string) check {
	return func(s string) error {
		if !slices.Contains(one, s) {
			return fmt.Errorf("%q is not %q", s, one)
		}
		return nil
	}
}
