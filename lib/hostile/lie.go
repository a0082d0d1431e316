package hostile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Lie is a false answer of the hostile host to one command, or to all commands with one
// signature.
type Lie struct {
	Signature string // see call.signature
	N         int    // which of the commands, from 0; -1 for all
	Kind      string
	Seed      uint64
}

// userProperty is the signature and the kind of a lie that no host tells: somebody who
// may set the user properties of liarDataset, a dataset of the source, sets one to a
// value that looks like rows about another dataset. Both hosts are honest then; zfs
// prints values unchanged.
const (
	userProperty = "a user property"
	liarDataset  = "tank/home/bob"
)

// askedProperties are the properties in zab's first listing, in its order.
var askedProperties = strings.Split("type,guid,createtxg,creation,origin,encryption,encryptionroot,keystatus,keyguid,written,used,referenced,volsize,"+
	"mounted,canmount,mountpoint,receive_resume_token,zab:from,zab:stream,zab:aside,zab:pool,autobackup:"+backup, ",")

// plant sets such a property on liarDataset.
func (l *Lie) plant(src *Host) {
	rng := rand.New(rand.NewPCG(l.Seed, 2))
	d, victim := src.find(liarDataset), src.find([]string{"tank/srv", "tank/home/alice"}[rng.IntN(2)])
	prop := []string{"autobackup:" + backup, "zab:from", "zab:stream", "zab:aside", "zab:pool"}[rng.IntN(5)]
	with := map[string]string{"written": "0"}
	switch rng.IntN(3) {
	case 0:
		with["autobackup:"+backup] = "false"
	case 1:
		with = map[string]string{"mountpoint": "/etc", "receive_resume_token": "1-2-3", "zab:from": "1"}
	}
	row := func(p string) string {
		v, source := src.get(victim, p)
		return victim.Name + "\t" + p + "\t" + or(with[p], v) + "\t" + source
	}
	value := "true"
	if prop != askedProperties[len(askedProperties)-1] {
		value = "7"
	}
	value += "\tlocal"
	if rng.IntN(2) == 0 {
		for _, p := range askedProperties {
			value += "\n" + row(p)
		}
	} else {
		value += "\n" + row("written")
	}
	d.Local[prop] = strings.TrimSuffix(value, "\tlocal")
}

func (l *Lie) String() string {
	if l.Signature == userProperty {
		return fmt.Sprintf("%s (%d)", userProperty, l.Seed)
	}
	return l.told()
}

func (l *Lie) told() string { return fmt.Sprintf("%s in answer %d of %q", l.Kind, l.N, l.Signature) }

// matchLie returns the lie to tell about this command, nil for none.
func (c *call) matchLie() *Lie {
	if c.host != c.conf.Hostile {
		return nil
	}
	n := -1
	for _, l := range c.conf.Lies {
		if l.Signature != c.entry.Signature {
			continue
		}
		if l.N < 0 {
			return l
		}
		if n < 0 {
			n = c.counts[l.Signature]
			c.counts[l.Signature]++
		}
		if l.N == n {
			return l
		}
	}
	return nil
}

// skipsCommand reports whether the hostile host does not carry out the command at all.
func (l *Lie) skipsCommand() bool { return l.Kind == "pretend" || l.Kind == "refuse" }

// draw returns a random lie about a random command of an honest run. silence allows
// answers that never come.
func draw(rng *rand.Rand, signatures []string, silence bool) *Lie {
	var l Lie
	count := map[string]int{}
	for _, s := range signatures {
		count[s]++
	}
	all := sortedKeys(count)
	l.Signature = all[rng.IntN(len(all))]
	l.N = rng.IntN(count[l.Signature])
	if rng.IntN(3) == 0 {
		l.N = -1
	}
	total := 0
	kinds := liesFor(l.Signature)
	weight := func(k *lieKind) int {
		switch {
		case k.name == "silence" && !silence:
			return 0
		case k.name == "token" && !strings.Contains(l.Signature, "receive_resume_token"):
			return 0
		case k.name == "deselect" && !strings.Contains(l.Signature, "autobackup:"):
			return 0
		}
		return k.weight
	}
	for i := range kinds {
		total += weight(&kinds[i])
	}
	for n, i := rng.IntN(total), 0; ; i++ {
		if n -= weight(&kinds[i]); n < 0 {
			l.Kind = kinds[i].name
			break
		}
	}
	l.Seed = rng.Uint64()
	return &l
}

// fewer reports whether said is the true answer, or the true answer without some of its
// objects, as a host with fewer datasets or snapshots would give it.
func fewer(honest, said []byte) bool {
	if bytes.Equal(honest, said) {
		return true
	}
	if len(said) > 0 && said[len(said)-1] != '\n' {
		return false
	}
	count := func(b []byte) map[string]int {
		n := map[string]int{}
		for line := range strings.Lines(string(b)) {
			name, _, _ := strings.Cut(line, "\t")
			n[name]++
		}
		return n
	}
	was, is := count(honest), count(said)
	rest := strings.SplitAfter(string(honest), "\n")
	for line := range strings.Lines(string(said)) {
		i := slices.Index(rest, line)
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	for name, n := range is {
		if n != was[name] {
			return false
		}
	}
	return true
}
