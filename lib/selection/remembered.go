package selection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"zab/lib/cache"
	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/private"
	"zab/lib/zfs"
)

// This file remembers, with --cache or --search-every, on which datasets a search of all
// pools found the property set. So --search-every need not open the others each time, and
// a search that is limited by operands can tell what it leaves out.
//
// ZFS does not tell whether a property has changed anywhere in a pool: the log of
// "zpool history -i" does, but it can only be read from its beginning, and the events of
// "zpool events" are forgotten after some hundreds. So a search that relies on memory
// misses a property that was newly set elsewhere; all else that it can see makes it
// search everything.

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
	Of []string `json:"of"`
	// Searched is when the last search of all pools was made, in seconds since the epoch.
	Searched int64 `json:"searched"`
	// Loads identifies the imported pools by name, each anew when it is imported; empty
	// where that was not asked. Set are the datasets on which the property was set.
	Loads map[string]string `json:"loads,omitzero"`
	Set   []place           `json:"set"`
	// Told are those of Set of which a limited search has said that it leaves them out.
	Told []string `json:"told,omitzero"`
	// Sum is the checksum of the file with an empty one.
	Sum string `json:"sum"`
}

// place is a dataset on which the property is set.
type place struct {
	Name string `json:"name"`
	GUID string `json:"guid"`
	// Off: the value is false, so that there is nothing to search below it.
	Off bool `json:"off,omitzero"`
}

const findingsFormat = 1

// maxFindings is the longest file that is read or written, in bytes; a variable for tests.
// A hundred thousand datasets take some ten million; a source may name more, every night.
var maxFindings = 64 << 20

// recall reads what is remembered. It returns nil if no option asks for memory, or if the
// directory is not safe; and an empty memory if there is no file, or not a usable one.
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
	of := append([]string{"selection", host.Dest, rules.Property, string(o.SSHTarget), string(o.Target)}, rules.ExcludePaths...)
	m := &memory{path: cache.Path(dir, ".json", of...), now: time.Now(), host: host}
	m.Format, m.Of = findingsFormat, of
	if err := m.read(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		env.Verbosef("cannot use '%s': %s", m.path, err)
	}
	return m
}

// read reads the file, and leaves the memory empty if it is not usable.
func (m *memory) read() error {
	st, err := os.Stat(m.path)
	if err != nil {
		return err
	}
	if st.Size() > int64(maxFindings) {
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
	switch {
	case f.Format != findingsFormat || !slices.Equal(f.Of, m.Of):
		return fmt.Errorf("it is of version %d and about %q", f.Format, f.Of)
	case f.Sum != f.checksum():
		return errors.New("its checksum is wrong")
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

// save writes the file. It removes a file that would be too long to be read, so that the
// next search is one of all pools.
func (m *memory) save(env *cli.Env) {
	if env.Common.DryRun {
		return
	}
	m.Sum = m.checksum()
	data, err := json.Marshal(m.findings)
	switch {
	case err != nil:
	case len(data) >= maxFindings:
		if err = os.Remove(m.path); err == nil || errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("what %s has would take more than %d bytes: nothing is remembered", m.host, maxFindings)
		}
	default:
		err = private.Replace(m.path, append(data, '\n'))
	}
	if err != nil {
		env.Verbosef("cannot write '%s': %s", m.path, err)
	}
}

func (f findings) checksum() string {
	f.Sum = ""
	data, err := json.Marshal(f, json.Deterministic(true))
	if err != nil {
		return ""
	}
	return cache.Checksum(data)
}

// search lists the datasets of the host that the property may select: those at and below
// the roots; without roots all, or, as far as --search-every allows, those at and below
// the datasets on which the last search of all pools found the property.
func (o *Options) search(ctx context.Context, env *cli.Env, host *zfs.Host, rules *Rules, roots, props []string) (*listing, error) {
	m := o.recall(env, host, rules)
	if m == nil {
		return o.list(ctx, env, host, rules, roots, nil, props)
	}
	if roots != nil {
		l, err := o.list(ctx, env, host, rules, roots, nil, props)
		if err == nil {
			m.tell(env, rules.Property, l)
		}
		return l, err
	}
	pools := func() zfs.Epoch { return zfs.Epoch{} }
	if o.SearchEvery.Seconds() > 0 {
		// Asked for before or during the listing, so that a pool imported later differs.
		pools = m.askPools(ctx)
	}
	if o.mayRely(m) {
		l, err := o.listKnown(ctx, env, m, rules, props, pools)
		if err == nil {
			env.Verbosef("only what had '%s' set at %s is searched", rules.Property, time.Unix(m.Searched, 0).Format(time.DateTime))
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		env.Verbosef("all pools of %s are searched: %s", host, err)
	}
	l, err := o.list(ctx, env, host, rules, nil, nil, props)
	if err == nil {
		m.learn(l, pools().Loads)
		m.save(env)
	}
	return l, err
}

// askPools asks which pools are imported, at the same time as what follows, and returns a
// function that waits for the answer, which is empty if there is none.
func (m *memory) askPools(ctx context.Context) func() zfs.Epoch {
	done := make(chan struct{})
	var pools zfs.Epoch
	go func() {
		defer close(done)
		if epoch, err := m.host.Epoch(ctx); err == nil {
			pools = epoch
		}
	}()
	return func() zfs.Epoch {
		<-done
		return pools
	}
}

// mayRely reports whether the last search of all pools is recent enough for this run. A
// run a little earlier in the night than the last one searches all the same.
func (o *Options) mayRely(m *memory) bool {
	since, age := m.now.Unix()-m.Searched, o.SearchEvery.Seconds()
	return !o.All && len(m.roots()) > 0 && len(m.Loads) > 0 && since >= 0 && since < age-age/10
}

// roots returns the outermost datasets at or below which something may be selected.
func (m *memory) roots() []string {
	var names []string
	for _, p := range m.Set {
		if !p.Off {
			names = append(names, p.Name)
		}
	}
	return outermost(names)
}

// listKnown lists what is at and below the remembered datasets. It returns an error if
// anything has changed that can be seen there: then all pools must be searched.
func (o *Options) listKnown(ctx context.Context, env *cli.Env, m *memory, rules *Rules, props []string, pools func() zfs.Epoch) (*listing, error) {
	var also []string
	for _, p := range m.Set {
		also = append(also, p.Name)
	}
	l, err := o.list(ctx, env, m.host, rules, m.roots(), also, props)
	now := pools()
	if err != nil {
		return nil, err
	}
	for pool, state := range now.States {
		if state == "SUSPENDED" {
			return nil, fmt.Errorf("the pool '%s' is suspended", pool)
		}
	}
	if len(now.States) != len(now.Loads) || !maps.Equal(now.Loads, m.Loads) {
		return nil, errors.New("a pool was imported or exported since the last search")
	}
	return l, m.differs(l)
}

// differs returns an error if a remembered dataset is missing in a listing, is another
// one, or no longer has the property set on it; or if it was set on one of the few
// datasets that were looked at beside them.
func (m *memory) differs(l *listing) error {
	if l.broken || len(l.unread)+len(l.absent)+len(l.above) > 0 {
		return errors.New("not all can be read where the property was set")
	}
	around := l.places(l.around)
	now, known := placeSet(l.places(l.datasets), around), placeSet(m.Set)
	for _, p := range m.Set {
		if !now[p] {
			return fmt.Errorf("the property on '%s' is not what it was at the last search", p.Name)
		}
	}
	for _, p := range around {
		if !known[p] {
			return fmt.Errorf("the property was set on '%s' since the last search", p.Name)
		}
	}
	return nil
}

// places returns those of the datasets on which the property is set, unless they are
// excluded, or are the target or below it.
func (l *listing) places(datasets []*Candidate) (out []place) {
	rules := l.rules.here(slices.Concat(l.around, l.datasets))
	for _, d := range datasets {
		if _, excluded := rules.excludedBy(d.Name); !excluded && (d.Prop.Source == "local" || d.Prop.Source == "received") {
			out = append(out, place{d.Name, d.GUID, d.Prop.Value == "false"})
		}
	}
	return out
}

func placeSet(lists ...[]place) map[place]bool {
	set := map[place]bool{}
	for _, p := range slices.Concat(lists...) {
		set[p] = true
	}
	return set
}

// learn records the outcome of a search of all pools. One that has gaps says nothing.
func (m *memory) learn(l *listing, loads map[string]string) {
	was := m.Set
	m.Searched, m.Loads, m.Set = 0, nil, nil
	if l.broken || len(l.unread) > 0 {
		return
	}
	m.Searched, m.Set = m.now.Unix(), l.places(l.datasets)
	if len(loads) == len(l.pools) {
		m.Loads = loads
	}
	now, stays := placeSet(m.Set), map[string]bool{}
	for _, p := range was {
		stays[p.Name] = now[p]
	}
	m.Told = slices.DeleteFunc(m.Told, func(n string) bool { return !stays[n] })
}

// tell warns, once for each, of the datasets outside of a limited search on which the
// last search of all pools found the property.
func (m *memory) tell(env *cli.Env, property string, l *listing) {
	// Another run may have searched all pools meanwhile.
	if m.read() != nil {
		return
	}
	told := nameSet(m.Told)
	var out []string
	for _, p := range m.Set {
		if !p.Off && !l.searched(p.Name) && !told[p.Name] {
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
