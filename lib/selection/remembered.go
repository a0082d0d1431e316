package selection

import (
	"cmp"
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
	"time"

	"github.com/go-json-experiment/json"

	"zab/lib/cache"
	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/private"
	"zab/lib/zfs"
)

// This file remembers, with --cache or --search-every, on which datasets a search of all pools found the
// property set. So --search-every need not open the others each time, and a search that
// is limited by operands can tell what it leaves out.
//
// ZFS does not tell whether a property has changed anywhere in a pool: the log of
// "zpool history -i" does, but it can only be read from its beginning, and the events of
// "zpool events" are forgotten after some hundreds. So a search that relies on memory
// misses a property that was newly set elsewhere; all else makes it search everything.

// memory is what the last search of all pools found.
type memory struct {
	path string
	now  time.Time
	host *zfs.Host
	findings
}

// findings is the content of the file. A file that is about something else, or that is
// damaged, counts for nothing.
type findings struct {
	Format int `json:"zab_selection"`
	// Of tells what the search was about: host, property, target, excluded paths.
	Of string `json:"of"`
	// Searched is when the last search of all pools was made, in seconds since the epoch.
	Searched int64 `json:"searched"`
	// Pools are the names of the pools that were imported then, Set the datasets on which
	// the property was set.
	Pools []string `json:"pools"`
	Set   []place  `json:"set"`
	// Told are those of Set of which a limited search has said that it leaves them out.
	Told []string `json:"told,omitzero"`
}

type place struct {
	Name string `json:"name"`
	GUID string `json:"guid"`
}

const findingsFormat = 1

// maxFindings is the longest file that is read, in bytes.
const maxFindings = 64 << 20

// recall reads what is remembered. It returns nil where nothing is, or can be.
func (o *Options) recall(env *cli.Env, host *zfs.Host, rules *Rules) *memory {
	if !o.Cache && o.SearchEvery.Seconds() == 0 {
		return nil
	}
	dir, err := cache.Dir()
	if err == nil {
		if err = private.Check(dir); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		env.Verbosef("nothing is remembered of the search: %s", err)
		return nil
	}
	of := strings.Join(append([]string{host.Dest, rules.Property, string(o.SSHTarget), string(o.Target)}, rules.ExcludePaths...), " ")
	sum := sha256.Sum256([]byte(of))
	m := &memory{path: filepath.Join(dir, "selection-"+hex.EncodeToString(sum[:8])+".json"), now: time.Now(), host: host}
	if err := m.read(of); err != nil && !errors.Is(err, fs.ErrNotExist) {
		env.Verbosef("cannot use '%s': %s", m.path, err)
	}
	m.Format, m.Of = findingsFormat, of
	return m
}

// read reads the file, and leaves the memory empty if it is not usable.
func (m *memory) read(of string) error {
	st, err := os.Stat(m.path)
	if err != nil {
		return err
	}
	if st.Size() > maxFindings {
		return fmt.Errorf("it has more than %d bytes", maxFindings)
	}
	data, err := os.ReadFile(m.path)
	if err != nil {
		return err
	}
	var f findings
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	if f.Format != findingsFormat || f.Of != of {
		return fmt.Errorf("it is of version %d and about %q", f.Format, f.Of)
	}
	for _, p := range f.Set {
		_, err := dataset.ParseName(p.Name)
		if _, e := dataset.ParseGUID(p.GUID); cmp.Or(err, e) != nil {
			return cmp.Or(err, e)
		}
	}
	m.findings = f
	return nil
}

func (m *memory) save(env *cli.Env) {
	if env.Common.DryRun {
		return
	}
	data, err := json.Marshal(m.findings)
	if err == nil {
		err = private.Replace(m.path, append(data, '\n'))
	}
	if err != nil {
		env.Verbosef("cannot write '%s': %s", m.path, err)
	}
}

// search lists the datasets of the host that the property may select: those at and below
// the roots; without roots all, or, as far as --search-every allows, those at and below
// the datasets on which the last search of all pools found the property.
func (o *Options) search(ctx context.Context, env *cli.Env, host *zfs.Host, rules *Rules, roots, props []string) (*listing, error) {
	m := o.recall(env, host, rules)
	if m == nil {
		return o.list(ctx, env, host, rules, roots, props)
	}
	if roots != nil {
		l, err := o.list(ctx, env, host, rules, roots, props)
		if err == nil {
			m.tell(env, rules.Property, l)
		}
		return l, err
	}
	if o.mayRely(m) {
		l, err := o.listKnown(ctx, env, m, rules, props)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		env.Verbosef("all pools of %s are searched: %s", host, err)
	}
	l, err := o.list(ctx, env, host, rules, nil, props)
	if err == nil {
		m.learn(l)
		m.save(env)
	}
	return l, err
}

// mayRely reports whether the last search of all pools is recent enough for this run.
func (o *Options) mayRely(m *memory) bool {
	since := m.now.Unix() - m.Searched
	return !o.All && len(m.Set) > 0 && since >= 0 && since < o.SearchEvery.Seconds()
}

// listKnown lists what is at and below the remembered datasets. It returns an error if
// anything has changed that can be seen there: then all pools must be searched.
func (o *Options) listKnown(ctx context.Context, env *cli.Env, m *memory, rules *Rules, props []string) (*listing, error) {
	var names []string
	for _, p := range m.Set {
		names = append(names, p.Name)
	}
	roots, err := within(names)
	if err != nil {
		return nil, err
	}
	type states struct {
		pools map[string]string
		err   error
	}
	asked := make(chan states, 1)
	go func() {
		pools, err := m.host.PoolStates(ctx)
		asked <- states{pools, err}
	}()
	l, err := o.list(ctx, env, m.host, rules, roots, props)
	now := <-asked
	if err := cmp.Or(err, now.err); err != nil {
		return nil, err
	}
	if !slices.Equal(slices.Sorted(maps.Keys(now.pools)), m.Pools) {
		return nil, errors.New("other pools are imported than at the last search")
	}
	return l, m.differs(l)
}

// differs returns an error if a remembered dataset is missing in a listing, is another
// one, or no longer has the property set on it.
func (m *memory) differs(l *listing) error {
	if l.broken || len(l.unread)+len(l.absent) > 0 {
		return errors.New("not all can be read where the property was set")
	}
	set := map[string]string{}
	for _, p := range l.places() {
		set[p.Name] = p.GUID
	}
	for _, p := range m.Set {
		if set[p.Name] != p.GUID {
			return fmt.Errorf("the property is no longer set on '%s'", p.Name)
		}
	}
	return nil
}

// places returns the datasets of a listing on which the property is set, unless a path is
// excluded.
func (l *listing) places() (out []place) {
	for i := range l.datasets {
		d := &l.datasets[i]
		v := d.Props[l.rules.Property]
		if _, excluded := l.rules.excludedBy(d.Name); !excluded && (v.Source == "local" || v.Source == "received") {
			out = append(out, place{d.Name, d.Props["guid"].Value})
		}
	}
	return out
}

// learn records the outcome of a search of all pools. One that has gaps says nothing.
func (m *memory) learn(l *listing) {
	was := m.Set
	m.Searched, m.Pools, m.Set = 0, nil, nil
	if l.broken || len(l.unread) > 0 {
		return
	}
	m.Searched, m.Pools, m.Set = m.now.Unix(), slices.Sorted(maps.Keys(l.pools)), l.places()
	m.Told = slices.DeleteFunc(m.Told, func(n string) bool {
		return !slices.ContainsFunc(was, func(p place) bool { return p.Name == n && slices.Contains(m.Set, p) })
	})
}

// tell warns, once for each, of the datasets outside of a limited search on which the
// last search of all pools found the property.
func (m *memory) tell(env *cli.Env, property string, l *listing) {
	var out []string
	for _, p := range m.Set {
		if !l.searched(p.Name) && !slices.Contains(m.Told, p.Name) {
			out = append(out, p.Name)
		}
	}
	if len(out) == 0 {
		return
	}
	more := ""
	if len(out) > 1 {
		more = fmt.Sprintf(" and %d more", len(out)-1)
	}
	env.Warnf("'%s' was set on '%s'%s at the last search of all pools: this run does not look there", property, out[0], more)
	m.Told = append(m.Told, out...)
	m.save(env)
}
