package zfs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// Value is a property's value with where it comes from: local, default,
// received, temporary, "inherited from X", or - for what cannot be set.
type Value struct {
	Value  string
	Source string
}

// Int returns the value as a number; false for what is none.
func (v Value) Int() (int64, bool) {
	n, err := strconv.ParseInt(v.Value, 10, 64)
	return n, err == nil
}

// Dataset is a filesystem or volume with the properties that were asked for.
type Dataset struct {
	Name  string
	Props map[string]Value
}

// Existing is Get for datasets of which some may not exist: those are left out.
func (h *Host) Existing(ctx context.Context, props, names []string) (map[string]Dataset, error) {
	out := map[string]Dataset{}
	if len(names) == 0 {
		return out, nil
	}
	got, err := h.Get(ctx, props, names, false)
	for _, d := range got {
		out[d.Name] = d
	}
	return out, ignoreKind(err, record.KindNotFound)
}

// Get reads properties of the named datasets (not snapshots) with their
// sources; of all below them too if recursive; of all on the host where no name
// is given. One program, or one for each batch of names too long for one.
//
// An answer is whole or an error: each dataset comes once, with all the properties
// in the order in which they were asked for, and each name that was given comes
// or zfs says that it does not exist.
func (h *Host) Get(ctx context.Context, props, names []string, recursive bool) ([]Dataset, error) {
	depth := 0
	if recursive {
		depth = -1
	}
	return h.GetDepth(ctx, props, names, depth)
}

// GetDepth is Get down to depth below the names, or the pools; -1 is all the way.
func (h *Host) GetDepth(ctx context.Context, props, names []string, depth int) ([]Dataset, error) {
	columns, err := frame(props)
	if err != nil {
		return nil, err
	}
	argv := []string{"zfs", "get", "-Hp", "-t", "filesystem,volume", "-o", "name,property,value,source"}
	switch {
	case len(names) == 0 && depth < 0, len(names) > 0 && depth == 0:
	case depth < 0:
		argv = append(argv, "-r")
	default:
		argv = append(argv, "-d", strconv.Itoa(depth))
	}
	var ask []string
	for _, c := range columns {
		ask = append(ask, c.prop)
	}
	argv = append(argv, strings.Join(ask, ","))
	var out []Dataset
	err = h.batches(argv, names, func(argv, names []string) error {
		p := getParser{columns: columns, scope: newScope(names, depth)}
		err := h.ask(ctx, p.row, argv...)
		var told *Error
		if err == nil || errors.As(err, &told) && told.answered() {
			if e := p.end(); e != nil {
				err = h.badAnswer(argv, "%s", e)
			}
		}
		if e := p.scope.absent(err); e != nil {
			err = h.badAnswer(argv, "%s", e)
		}
		out = append(out, p.out...)
		return err
	})
	return out, err
}

// column is one of the properties that zfs get is asked for.
type column struct {
	prop string
	// clean reports whether a value has the form that this property's values have;
	// nil where a value may be any text.
	clean func(string) bool
	// frame: the property only marks the end of the value before it.
	frame bool
}

// frame returns the columns to ask for. A value of free text may contain tabs and
// newlines, and so what looks like rows of another dataset, such as one that its
// owner would like to see in a backup. (zfs get -j escapes them, from 2.3 on.) So
// behind each such property another one is asked for that nobody has set, and
// whose name nobody knew when the value was set: all up to its row belongs to the
// value.
func frame(props []string) ([]column, error) {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, fmt.Errorf("cannot read random bytes: %w", err)
	}
	mark := "zab:" + hex.EncodeToString(nonce[:])
	var out []column
	for i, p := range props {
		clean := shapes[p]
		if clean == nil && strings.HasPrefix(p, "written@") {
			clean = isNumber
		}
		out = append(out, column{prop: p, clean: clean})
		if clean == nil {
			out = append(out, column{prop: mark + "-" + strconv.Itoa(i), frame: true})
		}
	}
	return out, nil
}

// getParser reads the four columns of `zfs get -H`.
type getParser struct {
	columns []column
	scope   *scope
	out     []Dataset
	// the row that comes next
	at   int
	name string
	// text of a free value so far, with all before it in its row
	text []string
	size int
}

func (p *getParser) row(line string) error {
	c := &p.columns[p.at]
	if c.frame {
		if line == p.name+"\t"+c.prop+"\t-\t-" {
			return p.free()
		}
		p.text = append(p.text, line)
		if p.size += len(line) + 1; p.size > maxLine {
			return fmt.Errorf("a value of '%s' of '%s' is longer than %d bytes", p.columns[p.at-1].prop, p.name, maxLine)
		}
		return nil
	}
	f := strings.SplitN(line, "\t", 3)
	if len(f) < 3 || f[1] != c.prop || p.at > 0 && f[0] != p.name {
		return fmt.Errorf("%q is not the row of the property '%s' of %s", cutText(line), c.prop, p.whose())
	}
	if p.at == 0 {
		if err := p.scope.take(f[0]); err != nil {
			return err
		}
		p.name = f[0]
		p.out = append(p.out, Dataset{Name: f[0], Props: make(map[string]Value, len(p.columns))})
	}
	if c.clean == nil {
		p.text, p.size = []string{f[2]}, len(line)
		p.at++
		return nil
	}
	value, source, ok := strings.Cut(f[2], "\t")
	if !ok || !isSource(source) || value != "-" && !c.clean(value) {
		return fmt.Errorf("%q is not a value of the property '%s' of '%s', with its source", cutText(f[2]), c.prop, p.name)
	}
	return p.put(Value{value, source})
}

// free takes the value of free text that has just ended.
func (p *getParser) free() error {
	text := strings.Join(p.text, "\n")
	p.at--
	i := strings.LastIndexByte(text, '\t')
	if i < 0 || !isSource(text[i+1:]) {
		return fmt.Errorf("%q is not a value of the property '%s' of '%s', with its source", cutText(text), p.columns[p.at].prop, p.name)
	}
	err := p.put(Value{text[:i], text[i+1:]})
	p.text = nil
	p.at = (p.at + 1) % len(p.columns)
	return err
}

func (p *getParser) put(v Value) error {
	p.out[len(p.out)-1].Props[p.columns[p.at].prop] = v
	p.at = (p.at + 1) % len(p.columns)
	return nil
}

func (p *getParser) whose() string {
	if p.at == 0 {
		return "a dataset"
	}
	return "'" + p.name + "'"
}

// end reports an answer that ended within a dataset.
func (p *getParser) end() error {
	if p.at == 0 {
		return nil
	}
	return fmt.Errorf("it ends before the property '%s' of '%s'", p.columns[p.at].prop, p.name)
}

func isSource(s string) bool {
	switch s {
	case "-", "local", "default", "received", "temporary", "none":
		return true
	}
	from, ok := strings.CutPrefix(s, "inherited from ")
	if !ok {
		return false
	}
	_, err := dataset.ParseName(from)
	return err == nil
}

// shapes are the forms of the values of those properties whose values are not free
// text.
var shapes = map[string]func(string) bool{
	"type":     oneOf("filesystem", "volume"),
	"guid":     isGUID,
	"creation": isAmount, "createtxg": isNumber, "keyguid": isNumber, "load_guid": isNumber,
	"origin":      isSnapshot,
	"encryption":  isWord,
	"compression": isWord, "dnodesize": isWord,
	"encryptionroot": isDataset,
	"keystatus":      oneOf("none", "available", "unavailable"),
	// zfs subtracts other figures from what was written. Once (2.3.2) it printed one below
	// 0, as a number of 64 bits: such a one is not known (see Value.Int), and no reason to
	// doubt the other answers.
	"written": isNumber,
	"used":    isAmount, "referenced": isAmount, "volsize": isAmount, "userrefs": isAmount,
	"quota": isAmount, "refquota": isAmount, "available": isAmount, "usedbyrefreservation": isAmount,
	"filesystem_limit": isCountOrNone, "filesystem_count": isCountOrNone,
	"snapshot_limit": isCountOrNone, "snapshot_count": isCountOrNone,
	"reservation": isAmountOr("none", "auto"), "refreservation": isAmountOr("none", "auto"),
	"mounted":  oneOf("yes", "no"),
	"canmount": oneOf("on", "off", "noauto"),
	"readonly": oneOf("on", "off"),
	"zoned":    oneOf("on", "off"),

	"receive_resume_token": isTokenText,
	ChangedProp:            isAmount,
	"clones":               isDatasets,
}

func oneOf(values ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(values, s) }
}

// isAmount reports whether s is a quantity or a time: decimal, of 63 bits.
func isAmount(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

func isAmountOr(words ...string) func(string) bool {
	return func(s string) bool { return isAmount(s) || slices.Contains(words, s) }
}

func isCountOrNone(s string) bool { return isNumber(s) || s == "none" }

func isNumber(s string) bool { return dataset.CheckNumber(s) == nil }

func isGUID(s string) bool {
	_, err := dataset.ParseGUID(s)
	return err == nil
}

func isDataset(s string) bool {
	_, err := dataset.ParseName(s)
	return err == nil
}

func isDatasets(s string) bool {
	for n := range strings.SplitSeq(s, ",") {
		if !isDataset(n) {
			return false
		}
	}
	return true
}

func isSnapshot(s string) bool {
	_, err := dataset.ParseSnapshot(s)
	return err == nil
}

// isWord reports whether s is a word such as aes-256-gcm.
func isWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && s[0] != '-'
}

// isTokenText reports whether s is made of what resume tokens are made of: four
// hexadecimal numbers with dashes between.
func isTokenText(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, "0123456789abcdef-") == "" && len(s) < maxLine
}

// cutText is a text for a message, cut where it is long.
func cutText(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}
