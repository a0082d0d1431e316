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

// Value is a property's value with its source: local, default, received, temporary,
// "inherited from X", or - for a property that cannot be set.
type Value struct {
	Value  string
	Source string
}

// Int returns the value as a number, and false if it is not one.
func (v Value) Int() (int64, bool) {
	n, err := strconv.ParseInt(v.Value, 10, 64)
	return n, err == nil
}

// Dataset is a filesystem or volume with the properties that were requested.
type Dataset struct {
	Name  string
	Props map[string]Value
}

// Existing is Get for datasets some of which may not exist; it leaves those out. The
// result is by name.
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

// Get reads properties, with their sources, of the named datasets (not snapshots), and of
// all their descendants if recursive; without names, it starts from all pools of the
// host. It runs one program, or one per batch if the names do not fit into one command
// line.
//
// An answer is complete or an error: each dataset comes once, with all properties in the
// order of the request, and each given name either comes or is reported by zfs as not
// existing.
func (h *Host) Get(ctx context.Context, props, names []string, recursive bool) (out []Dataset, err error) {
	depth := 0
	if recursive {
		depth = -1
	}
	err = h.GetEach(ctx, props, names, depth, func(d Dataset) { out = append(out, d) })
	return out, err
}

// GetEach is Get for the names, or the pools, and depth levels below them; -1 means all
// levels. It calls each with one dataset after the other, so that of many the caller keeps
// only what it needs.
func (h *Host) GetEach(ctx context.Context, props, names []string, depth int, each func(Dataset)) error {
	columns, err := frame(props)
	if err != nil {
		return err
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
	left := maxAnswer.allow()
	return h.batches(argv, names, func(argv, names []string) error {
		p := getParser{columns: columns, scope: newScope(names, depth), each: each}
		err := h.askMore(ctx, left, p.row, argv...)
		var told *Error
		if err == nil || errors.As(err, &told) && told.answered() {
			if e := p.end(); e != nil {
				err = h.badAnswer(argv, "%s", e)
			}
		}
		if e := p.scope.absent(err); e != nil {
			err = h.badAnswer(argv, "%s", e)
		}
		return err
	})
}

// column is one of the properties that are requested from zfs get.
type column struct {
	prop string
	// clean reports whether a value has the form of this property's values; nil if a
	// value may be any text.
	clean func(string) bool
	// frame: the property only marks the end of the preceding value.
	frame bool
}

// frame returns the columns to request. A free-text value may contain tabs and newlines,
// and so imitate rows of another dataset, for instance to get that dataset into a backup.
// (zfs get -j escapes them, from 2.3 on.) So each such property is followed by a property
// that nobody has set, and whose random name nobody knew when the value was set: all text
// up to its row belongs to the value.
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
	// each gets a dataset when all of its rows have been read
	each func(Dataset)
	// index of the expected column, and the dataset whose rows are being read
	at      int
	dataset Dataset
	// lines of the current free-text value, the last of which ends with the source,
	// and their size in bytes
	text []string
	size int
}

func (p *getParser) row(line string) error {
	c := &p.columns[p.at]
	if c.frame {
		if line == p.dataset.Name+"\t"+c.prop+"\t-\t-" {
			return p.free()
		}
		p.text = append(p.text, line)
		if p.size += len(line) + 1; p.size > maxLine {
			return fmt.Errorf("a value of '%s' of '%s' is longer than %d bytes", p.columns[p.at-1].prop, p.dataset.Name, maxLine)
		}
		return nil
	}
	f := strings.SplitN(line, "\t", 3)
	if len(f) < 3 || f[1] != c.prop || p.at > 0 && f[0] != p.dataset.Name {
		return fmt.Errorf("%q is not the row of the property '%s' of %s", cutText(line), c.prop, p.whose())
	}
	if p.at == 0 {
		if err := p.scope.take(f[0]); err != nil {
			return err
		}
		p.dataset = Dataset{Name: f[0], Props: make(map[string]Value, len(p.columns))}
	}
	if c.clean == nil {
		p.text, p.size = []string{f[2]}, len(line)
		p.at++
		return nil
	}
	value, source, ok := strings.Cut(f[2], "\t")
	if !ok || !isSource(source) || value != "-" && !c.clean(value) {
		return fmt.Errorf("%q is not a value of the property '%s' of '%s', with its source", cutText(f[2]), c.prop, p.dataset.Name)
	}
	p.put(Value{value, source})
	return nil
}

// free stores the free-text value whose end was just found.
func (p *getParser) free() error {
	text := strings.Join(p.text, "\n")
	p.at--
	i := strings.LastIndexByte(text, '\t')
	if i < 0 || !isSource(text[i+1:]) {
		return fmt.Errorf("%q is not a value of the property '%s' of '%s', with its source", cutText(text), p.columns[p.at].prop, p.dataset.Name)
	}
	p.put(Value{text[:i], text[i+1:]})
	p.text = nil
	p.next()
	return nil
}

func (p *getParser) put(v Value) {
	p.dataset.Props[p.columns[p.at].prop] = v
	p.next()
}

// next goes on to the next column, or, after the last, to the next dataset.
func (p *getParser) next() {
	if p.at++; p.at == len(p.columns) {
		p.at = 0
		p.each(p.dataset)
	}
}

func (p *getParser) whose() string {
	if p.at == 0 {
		return "a dataset"
	}
	return "'" + p.dataset.Name + "'"
}

// end returns an error if the answer ended within a dataset.
func (p *getParser) end() error {
	if p.at == 0 {
		return nil
	}
	return fmt.Errorf("it ends before the property '%s' of '%s'", p.columns[p.at].prop, p.dataset.Name)
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

// shapes has, for each property whose values are not free text, the check of their form.
var shapes = map[string]func(string) bool{
	"type":     oneOf("filesystem", "volume"),
	"guid":     isGUID,
	"creation": isAmount, "createtxg": isNumber, "keyguid": isNumber, "load_guid": isNumber,
	"origin":      isSnapshot,
	"encryption":  isWord,
	"compression": isWord, "dnodesize": isWord,
	"encryptionroot": isDataset,
	"keystatus":      oneOf("none", "available", "unavailable"),
	// zfs computes written by subtraction. Once (2.3.2) it printed a negative result
	// as an unsigned number of 64 bits: such a value is unknown (see Value.Int), but
	// no reason to doubt the rest of the answer.
	"written": isNumber,
	"used":    isAmount, "referenced": isAmount, "logicalreferenced": isAmount, "volsize": isAmount, "userrefs": isAmount,
	"quota": isAmount, "refquota": isAmount, "available": isAmount, "usedbyrefreservation": isAmount,
	"filesystem_limit": isCountOrNone, "filesystem_count": isCountOrNone,
	"snapshot_limit": isCountOrNone, "snapshot_count": isCountOrNone,
	"reservation": isAmountOr("none", "auto"), "refreservation": isAmountOr("none", "auto"),
	"mounted":  oneOf("yes", "no"),
	"canmount": oneOf("on", "off", "noauto"),
	"readonly": oneOf("on", "off"),
	"xattr":    isWord, "acltype": isWord,
	"zoned": oneOf("on", "off"),

	redactedProp: oneOf("0", "1"),

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

// isTokenText reports whether s has the characters of a resume token, which is four
// hexadecimal numbers joined by dashes.
func isTokenText(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, "0123456789abcdef-") == "" && len(s) < maxLine
}

// cutText shortens a long text for a message.
func cutText(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}
