// Package journal keeps notes on this machine that say where a look at the holds is worth
// it. Asking zfs for the holds of every copy would cost a healthy run more than all its
// other queries.
//
// A Journal notes which copies a run works on, so that the next run knows on which copies a
// killed run may not have moved the holds; a run that ended well leaves no file. Pinned
// notes which snapshots need no look, because they were held by the pin alone.
//
// Goals: every file may be deleted, truncated or corrupted at any time; a missing note costs
// a look, no more.
//
// Non-goals: the notes do not record which work was done; the pools show that.
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

// A file belongs to one run and one key. A line that begins with + names a copy on which
// work has begun, a line with - a copy on which the work is complete. The run keeps the
// file locked while it lives, so that files of dead runs can be recognized.
const (
	begun = '+'
	done  = '-'
)

// most is the size up to which a file is read; no real journal is that long.
const most = 64 << 20

// Journal is the journal of one run. The zero value with a Dir is ready to use; without
// Dir it notes nothing. It may be used by several goroutines.
type Journal struct {
	// Dir is the directory of the files.
	Dir string
	// Say, if set, is called with the reason why nothing can be noted.
	Say func(format string, a ...any)

	mu    sync.Mutex
	files map[string]*file // by key
}

type file struct {
	f    *os.File
	path string
	// before are the files of dead runs, left the copies that neither these runs nor this
	// one has completed.
	before []string
	left   map[string]bool
	// syncs are closed when the corresponding notes are on disk.
	syncs []chan struct{}
}

// Begin notes that work on copies, given by their datasets' names, is about to begin;
// call it before anything is changed. The key identifies their target: the tag of the
// holds for this target, without the guid of its pool. The returned function waits until
// the note is on disk, so that the disk can be written during a query to zfs.
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
		j.files[key] = f // nil if it cannot be opened
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

// Done notes that the work on copies is complete.
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

// Close keeps the names of the unfinished copies, including those of earlier runs, for
// the next run; it keeps no file if there are none.
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

// Left returns the copies on which dead runs have begun work that they did not complete.
func Left(dir, key string) map[string]bool {
	left := map[string]bool{}
	for _, path := range dead(dir, key) {
		maps.Copy(left, read(path, key))
	}
	return left
}

func prefix(key string) string { return fileName("unfinished", key) + "-" }

// fileName returns the name of a file of a kind for a key, which may contain anything.
func fileName(kind, key string) string {
	sum := sha256.Sum256([]byte(key))
	return kind + "-" + hex.EncodeToString(sum[:8])
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
	// No other process knows the file yet.
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
		// The names left by dead runs are in this file before their files are removed.
		f.note(begun, slices.Sorted(maps.Keys(f.left)))
		_ = f.f.Sync()
	}
	for _, path := range f.before {
		_ = os.Remove(path)
	}
	_ = f.f.Close()
}

// dead returns the files of a key whose runs have ended.
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

// escape quotes a directory's name so that Glob takes it literally.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// readNotes returns what follows the first line of a file, which is the key; "" if the file
// is another key's, cannot be read, is no regular file or is too large.
func readNotes(path, key string) string {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() > most {
		return ""
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	first, rest, _ := strings.Cut(string(data), "\n")
	if first != key {
		return ""
	}
	return rest
}

// read returns the names in a file that were begun and not completed. An incomplete last
// line is ignored.
func read(path, key string) map[string]bool {
	left := map[string]bool{}
	for line := range strings.Lines(readNotes(path, key)) {
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
