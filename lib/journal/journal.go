// Package journal notes on this machine which copies a run works on, so that the
// next run knows where one that was killed may not have come to moving the holds.
// To ask zfs for the holds of every copy would cost a healthy run more than all
// else that it asks.
//
// Goals: what a run that ended well leaves is nothing; a file that may be deleted,
// cut off or garbled at any time, for it only says where to look.
//
// Non-goals: it says nothing of what was done or not: the pools do.
package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"zab/lib/private"
)

// A file is of one run and one key. A line that begins with + names a copy on
// which work has begun, one with - a copy with which all is well. The run has the
// file locked for as long as it lives, so that the files of dead runs can be told.
const (
	begun = '+'
	done  = '-'
)

// most is the length up to which a file is read. Nobody has that many copies.
const most = 64 << 20

// Journal is what one run notes. The zero value with a Dir is ready; without Dir it
// notes nothing. It may be used by several goroutines.
type Journal struct {
	// Dir is the directory of the files.
	Dir string
	// Say, if set, is told why nothing is noted.
	Say func(format string, a ...any)

	mu    sync.Mutex
	files map[string]*file // by key
}

type file struct {
	f    *os.File
	path string
	// before are the files of dead runs, left what they and this run have not done.
	before []string
	left   map[string]bool
	// syncs are closed when what was noted is on disk.
	syncs []chan struct{}
}

// Begin notes that work begins on copies, by the names of their datasets, before
// anything is changed. The key tells whose copies they are: the tag of the holds that
// stand for their target, without the guid of its pool. The function it returns waits
// until the note is on disk, so that the disk may be written while zfs is asked
// something.
func (j *Journal) Begin(key string, names ...string) (onDisk func()) {
	onDisk = func() {}
	if j.Dir == "" || key == "" || len(names) == 0 {
		return onDisk
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	f, ok := j.files[key]
	if !ok {
		var err error
		if f, err = open(j.Dir, key); err != nil && j.Say != nil {
			j.Say("cannot note what is begun: %s", err)
		}
		if j.files == nil {
			j.files = map[string]*file{}
		}
		j.files[key] = f // nil where it cannot be had
	}
	if f == nil {
		return onDisk
	}
	for _, n := range names {
		f.left[n] = true
	}
	f.note(begun, names)
	synced := make(chan struct{})
	f.syncs = append(f.syncs, synced)
	go func() {
		defer close(synced)
		_ = f.f.Sync()
	}()
	return func() { <-synced }
}

// Done notes that all is well with copies.
func (j *Journal) Done(key string, names ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.files[key]
	if f == nil {
		return
	}
	for _, n := range names {
		delete(f.left, n)
	}
	f.note(done, names)
}

// Close leaves the names of those copies for the next run with which not all is
// well, together with what runs before have left; no file where there are none.
func (j *Journal) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range j.files {
		if f != nil {
			f.close()
		}
	}
	j.files = nil
}

// Left returns the copies that runs which are dead have begun to work on, and with
// which they did not say that all is well.
func Left(dir, key string) map[string]bool {
	left := map[string]bool{}
	for _, path := range dead(dir, key) {
		maps.Copy(left, read(path, key))
	}
	return left
}

func prefix(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "unfinished-" + hex.EncodeToString(sum[:8]) + "-"
}

func open(dir, key string) (*file, error) {
	if err := private.Make(dir); err != nil {
		return nil, err
	}
	before := dead(dir, key)
	f, err := os.CreateTemp(dir, prefix(key))
	if err != nil {
		return nil, err
	}
	// Nobody else knows the file yet.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	if _, err := f.WriteString(key + "\n"); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	out := &file{f: f, path: f.Name(), before: before, left: map[string]bool{}}
	for _, path := range before {
		maps.Copy(out.left, read(path, key))
	}
	return out, nil
}

func (f *file) note(sign byte, names []string) {
	var b bytes.Buffer
	for _, n := range names {
		b.WriteByte(sign)
		b.WriteString(n)
		b.WriteByte('\n')
	}
	_, _ = f.f.Write(b.Bytes())
}

func (f *file) close() {
	for _, synced := range f.syncs {
		<-synced
	}
	if len(f.left) == 0 {
		_ = os.Remove(f.path)
	} else {
		// What the dead left stands in this file before theirs go.
		f.note(begun, slices.Sorted(maps.Keys(f.left)))
		_ = f.f.Sync()
	}
	for _, path := range f.before {
		_ = os.Remove(path)
	}
	_ = f.f.Close()
}

// dead are the files of a key whose runs do not live any more.
func dead(dir, key string) (paths []string) {
	if private.Check(dir) != nil {
		return nil
	}
	all, _ := filepath.Glob(filepath.Join(escape(dir), prefix(key)+"*"))
	for _, path := range all {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			paths = append(paths, path)
		}
		_ = f.Close()
	}
	return paths
}

// escape makes a directory's name one that Glob takes as it is.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// read returns the names in a file that were begun and not done. A line that is cut
// off was not noted.
func read(path, key string) map[string]bool {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() > most {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	first, rest, _ := strings.Cut(string(data), "\n")
	if first != key {
		return nil
	}
	left := map[string]bool{}
	for line := range strings.Lines(rest) {
		name, whole := strings.CutSuffix(line, "\n")
		switch {
		case !whole || len(name) < 2:
		case name[0] == begun:
			left[name[1:]] = true
		case name[0] == done:
			delete(left, name[1:])
		}
	}
	return left
}
