// Package cache remembers lists of snapshots, so that datasets that have not changed
// since need not be listed again.
//
// ZFS records for each dataset when its snapshots last changed (snapshots_changed, zfs
// 2.2 and later), to the second. A list is trusted while that time stays the same,
// provided that the list was made so much later that no further change can have the same
// second. Two changes might still get the same second if the clock was set or the pool
// was imported on another machine, so either voids the list (zfs.Epoch).
//
// Goals: never a wrong list; the file may be deleted, truncated or corrupted at any time.
//
// Non-goals: the package lists nothing itself, and asks a host only for its epoch.
// Bookmarks change without a trace, so a source dataset with bookmarks is not for this
// package.
package cache

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"zab/lib/private"
	"zab/lib/record"
	"zab/lib/zfs"
)

// Remembering is the option of the commands that list snapshots.
type Remembering struct {
	Cache bool `long:"cache" section:"sent" description:"Cache the lists of snapshots, and list only what has changed since; needs zfs 2.2"`
}

// format is the version of the file. A file of another version is ignored.
const format = 1

// margin is the number of seconds by which a trusted list must be later than the first
// sight of its state: the second itself, and possible errors of rounding.
const margin = 4

// maxWalk is for how many seconds the set of datasets is remembered: a dataset that
// somebody else creates is noticed after this time at the latest.
const maxWalk = day

const day = 24 * 3600

// maxUnused is for how many seconds KeepOthers keeps what no run had to do with.
const maxUnused = 14 * day

// maxOthers is how many snapshots KeepOthers keeps; a variable for tests. A host that
// names other datasets every night must not let the file grow without end.
var maxOthers = 1_000_000

// maxFile is the longest file that is read or written, in bytes; a variable for tests. A
// hundred thousand datasets with a hundred snapshots each take some 900 million.
var maxFile int64 = 2 << 30

// State identifies the state of a dataset for which a list is right.
type State struct {
	GUID      string `json:"guid"`
	CreateTXG string `json:"createtxg"`
	// Origin changes with a promotion, which moves snapshots between datasets.
	Origin string `json:"origin,omitzero"`
	// Changed is snapshots_changed, in seconds; 0 if no snapshot was ever created or
	// destroyed, Unknown if zfs was not asked.
	Changed int64 `json:"changed"`
}

// Unknown is the value of State.Changed for a dataset that must not be remembered.
const Unknown = -1

// Lists are the snapshots and bookmarks of a dataset, oldest first.
type Lists struct {
	Snapshots, Bookmarks []record.Snapshot
}

type header struct {
	Format int               `json:"zab_cache"`
	Of     string            `json:"of"`
	Boot   int64             `json:"boot"`
	Walked int64             `json:"walked"`
	Loads  map[string]string `json:"loads"`
	Count  int               `json:"count"`
	Sum    string            `json:"sum"`
}

type entry struct {
	Name string `json:"name"`
	State
	// Since is when the state was first seen, Listed when the lists were made.
	Since  int64 `json:"since"`
	Listed int64 `json:"listed"`
	// Used is when a run last had to do with the dataset, give or take a day.
	Used      int64             `json:"used,omitzero"`
	Snapshots []record.Snapshot `json:"snapshots"`
	Bookmarks []record.Snapshot `json:"bookmarks,omitzero"`
}

// Store is the remembered lists of one side of a backup.
type Store struct {
	path string
	head header
	now  zfs.Epoch
	have map[string]*entry
	// used are the entries seen in this run; all others are forgotten, unless KeepOthers
	// keeps them.
	used map[string]*entry
}

// Dir returns the directory of the files: $CACHE_DIRECTORY if it is set, as by systemd;
// else /var/cache/zab for root and the user's cache directory for others.
func Dir() (string, error) {
	if d := os.Getenv("CACHE_DIRECTORY"); d != "" {
		d, _, _ = strings.Cut(d, ":")
		return d, nil
	}
	if os.Getuid() == 0 {
		return "/var/cache/zab", nil
	}
	d, err := os.UserCacheDir()
	return filepath.Join(d, "zab"), err
}

// ForHost opens the store for a subject on a host, and has it check the host's epoch. It
// returns nil if nothing can be remembered, and passes the reason to warn if the
// directory is unsafe, else to say.
func ForHost(ctx context.Context, host *zfs.Host, say, warn func(format string, a ...any), of ...string) *Store {
	dir, err := Dir()
	if err != nil {
		say("nothing can be remembered: %s", err)
		return nil
	}
	// The file decides which snapshots are taken to exist, so nobody else may be able to
	// write it.
	if err := private.Check(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		warn("nothing is remembered: cannot use the directory of the cache: %s", err)
		return nil
	}
	s, err := Open(dir, append(of, host.Dest)...)
	if err != nil {
		say("%s", err)
	}
	epoch, err := host.Epoch(ctx)
	if err != nil {
		say("nothing can be remembered of %s: %s", host, err)
		return nil
	}
	if !s.At(epoch) {
		say("nothing can be remembered of %s: it does not say since when it is up", host)
		return nil
	}
	return s
}

// Path returns the name of the file in dir that is about a subject, which may be of any
// strings; the first begins the name.
func Path(dir, ext string, of ...string) string {
	return filepath.Join(dir, of[0]+"-"+Checksum([]byte(strings.Join(of, "\x00")))[:16]+ext)
}

// Open reads the store for a subject, such as the target tank/backup on a host. It
// returns an empty but usable store together with an error if the file cannot be read.
func Open(dir string, of ...string) (*Store, error) {
	s := &Store{path: Path(dir, ".ndjson", of...),
		head: header{Format: format, Of: strings.Join(of, " "), Loads: map[string]string{}},
		have: map[string]*entry{}, used: map[string]*entry{}}
	err := s.read()
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		s.have = map[string]*entry{}
		s.head.Walked = 0
		return s, fmt.Errorf("cannot use the cache '%s': %w", s.path, err)
	}
	return s, nil
}

func (s *Store) read() error {
	if err := private.Check(filepath.Dir(s.path)); err != nil {
		return err
	}
	st, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if st.Size() > maxFile {
		return fmt.Errorf("it has more than %d bytes", maxFile)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	first, rest, ok := bytes.Cut(data, []byte("\n"))
	var head header
	if !ok || json.Unmarshal(first, &head) != nil {
		return errors.New("it has no header")
	}
	if head.Format != format || head.Of != s.head.Of {
		return fmt.Errorf("it is of version %d and about %q", head.Format, head.Of)
	}
	if head.Sum != Checksum(rest) {
		return errors.New("its checksum is wrong")
	}
	lines := bufio.NewScanner(bytes.NewReader(rest))
	lines.Buffer(nil, 1<<30)
	for lines.Scan() {
		e := &entry{}
		if err := json.Unmarshal(lines.Bytes(), e); err != nil {
			return err
		}
		s.have[e.Name] = e
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(s.have) != head.Count {
		return fmt.Errorf("it has %d datasets, and says %d", len(s.have), head.Count)
	}
	if head.Loads == nil {
		head.Loads = map[string]string{}
	}
	s.head = head
	return nil
}

// Checksum returns the checksum of the content of a file, in hexadecimal.
func Checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Names returns the sorted names of the remembered datasets. If Walk reports true, the
// set may be incomplete.
func (s *Store) Names() []string { return slices.Sorted(maps.Keys(s.have)) }

// Replaced reports whether the dataset of that name is remembered with another guid.
func (s *Store) Replaced(name, guid string) bool {
	e := s.have[name]
	return e != nil && e.GUID != guid
}

// At forgets the lists that the host's epoch makes doubtful. It returns false if the host
// does not report enough for anything to be remembered.
func (s *Store) At(now zfs.Epoch) bool {
	s.now = now
	stepped := s.head.Boot == 0 || now.Boot == 0 || abs(now.Boot-s.head.Boot) > 1
	if stepped {
		s.have = map[string]*entry{}
		s.head.Walked = 0
		s.head.Boot = now.Boot
	}
	for name := range s.have {
		pool, _, _ := strings.Cut(name, "/")
		if was := s.head.Loads[pool]; was == "" || was != now.Loads[pool] {
			delete(s.have, name)
		}
	}
	s.head.Loads = maps.Clone(now.Loads)
	return now.Boot != 0
}

func abs(n int64) int64 { return max(n, -n) }

// Walk reports whether the whole tree must be listed, to find datasets that are not
// remembered.
func (s *Store) Walk() bool {
	return len(s.have) == 0 || s.now.Now-s.head.Walked > maxWalk || s.now.Now < s.head.Walked
}

// Walked records that the whole tree was listed.
func (s *Store) Walked() { s.head.Walked = s.now.Now }

// Get returns the lists of a dataset, if they are known to be right for its state.
func (s *Store) Get(name string, now State) (Lists, bool) {
	e := s.have[name]
	// Changed may lie in the future; then a later change may still get the same time.
	if e == nil || now.Changed == Unknown || e.State != now || e.Listed < max(e.Since, e.Changed)+margin {
		return Lists{}, false
	}
	if s.now.Now-e.Used > day {
		again := *e
		again.Used = s.now.Now
		e = &again
	}
	s.used[name] = e
	return Lists{slices.Clone(e.Snapshots), slices.Clone(e.Bookmarks)}, true
}

// Put records the lists of a dataset. They must have been made after the state was read,
// and both after the host reported its time.
func (s *Store) Put(name string, now State, l Lists) {
	if now.Changed == Unknown {
		return
	}
	pool, _, _ := strings.Cut(name, "/")
	if s.now.Loads[pool] == "" {
		return
	}
	e := &entry{Name: name, State: now, Since: s.now.Now, Listed: s.now.Now, Used: s.now.Now, Snapshots: bare(l.Snapshots), Bookmarks: bare(l.Bookmarks)}
	if old := s.have[name]; old != nil && old.State == now && old.Since <= s.now.Now {
		e.Since = old.Since
	}
	s.used[name] = e
}

// bare returns the snapshots with only the fields to be remembered, those of a plain
// listing.
func bare(list []record.Snapshot) []record.Snapshot {
	out := make([]record.Snapshot, len(list))
	for i, s := range list {
		out[i] = record.Snapshot{Name: s.Name, GUID: s.GUID, CreateTXG: s.CreateTXG}
	}
	return out
}

// KeepOthers keeps the lists of datasets that this run had nothing to do with, for a
// fortnight: a run of a part of the datasets leaves them to the next run of all. They are
// as right then as if there had been no run between.
func (s *Store) KeepOthers() {
	left := maxOthers
	for _, name := range s.Names() {
		if e := s.have[name]; s.used[name] == nil && s.now.Now-e.Used <= maxUnused {
			if left -= 1 + len(e.Snapshots) + len(e.Bookmarks); left < 0 {
				return
			}
			s.used[name] = e
		}
	}
}

// Save replaces the file, unless no entry has changed and the tree was not walked in this
// run. It removes a file that would be too long, so that the next run lists everything.
func (s *Store) Save() error {
	if maps.Equal(s.have, s.used) {
		if s.head.Walked != s.now.Now {
			return nil
		}
	}
	if s.head.Boot == 0 {
		return nil
	}
	var body bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(s.used)) {
		line, err := json.Marshal(s.used[name])
		if err != nil {
			return err
		}
		body.Write(append(line, '\n'))
		if int64(body.Len()) > maxFile {
			return s.tooLong()
		}
	}
	s.head.Count, s.head.Sum = len(s.used), Checksum(body.Bytes())
	head, err := json.Marshal(s.head, json.Deterministic(true))
	if err != nil {
		return err
	}
	if int64(len(head)+1+body.Len()) > maxFile {
		return s.tooLong()
	}
	// The file need not survive a crash of the machine.
	if err := private.Replace(s.path, append(append(head, '\n'), body.Bytes()...)); err != nil {
		return fmt.Errorf("cannot write the cache '%s': %w", s.path, err)
	}
	return nil
}

// tooLong removes the file, and says that nothing is remembered.
func (s *Store) tooLong() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the cache '%s': %w", s.path, err)
	}
	return fmt.Errorf("nothing is remembered in the cache '%s': it would have more than %d bytes", s.path, maxFile)
}
