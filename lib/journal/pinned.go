package journal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"zab/lib/dataset"
	"zab/lib/private"
)

// Pinned are notes on this machine of which snapshots were held for a target by its pin
// alone. Snapshots held by zfs-autobackup, or by earlier versions of zab, have the tag that
// all targets share. Only a look at its holds tells whether a snapshot has that, and opens
// the dataset on each side; the notes save the look as long as nobody else moves the holds.
//
// The zero value with a Dir is ready to use; without Dir nothing is noted. It may be used by
// several goroutines.
type Pinned struct {
	// Dir is the directory of the files.
	Dir string

	mu   sync.Mutex
	pins map[string]*pinned // by pin
}

// pinned are the notes about one target.
type pinned struct {
	// known has what the file said; added is what is new.
	known, added map[string]base // by the copy's name
}

// base is the newest common snapshot of a copy, and the day, in days since the epoch, on
// which its pin was put.
type base struct {
	guid string
	day  int64
}

// maxIdle is for how many days a note is kept. The notes of copies that are no longer made
// must not stay for ever.
const maxIdle = 100

// Has reports whether the snapshot of the given guid is noted for the copy.
func (p *Pinned) Has(pin, copied, guid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Dir != "" && guid != "" && p.of(pin).known[copied].guid == guid
}

// Put notes that the snapshot of the given guid is held for the copy by the pin alone.
func (p *Pinned) Put(pin, copied, guid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Dir != "" {
		p.of(pin).added[copied] = base{guid, today()}
	}
}

// Forget removes the note about a copy.
func (p *Pinned) Forget(pin, copied string) { p.Put(pin, copied, "") }

func (p *Pinned) of(pin string) *pinned {
	if p.pins[pin] == nil {
		if p.pins == nil {
			p.pins = map[string]*pinned{}
		}
		of := &pinned{added: map[string]base{}}
		if private.Check(p.Dir) == nil {
			of.known = readPinned(p.path(pin), pin)
		}
		p.pins[pin] = of
	}
	return p.pins[pin]
}

// Save writes the notes that are new.
func (p *Pinned) Save() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for pin, of := range p.pins {
		if len(of.added) == 0 {
			continue
		}
		if err := private.Make(p.Dir); err != nil {
			return err
		}
		// The file is read again, because another run may have changed it.
		all := readPinned(p.path(pin), pin)
		var out bytes.Buffer
		out.WriteString(pin + "\n")
		for copied, b := range of.added {
			all[copied] = b
		}
		for copied, b := range all {
			if b.guid != "" && today()-b.day <= maxIdle {
				fmt.Fprintf(&out, "%s\t%s\t%d\n", copied, b.guid, b.day)
			}
		}
		errs = append(errs, private.Replace(p.path(pin), out.Bytes()))
		of.added = map[string]base{}
	}
	return errors.Join(errs...)
}

func (p *Pinned) path(pin string) string { return filepath.Join(p.Dir, fileName("pinned", pin)) }

// readPinned returns the notes of a file. Lines that are not understood are ignored.
func readPinned(path, pin string) map[string]base {
	all := map[string]base{}
	for line := range strings.Lines(readNotes(path, pin)) {
		line, whole := strings.CutSuffix(line, "\n")
		f := strings.Split(line, "\t")
		if !whole || len(f) != 3 {
			continue
		}
		_, err := dataset.ParseGUID(f[1])
		day, err2 := strconv.ParseInt(f[2], 10, 64)
		if err == nil && err2 == nil {
			all[f[0]] = base{f[1], day}
		}
	}
	return all
}

func today() int64 { return time.Now().Unix() / (24 * 3600) }
