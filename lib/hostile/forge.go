package hostile

import (
	"slices"
	"strconv"
	"strings"
)

func (m *mutator) message() { m.err = []byte(m.zfsMessage()) }

func (m *mutator) notThere() {
	m.err = []byte("cannot open '" + m.someName() + "': dataset does not exist\n")
}

// zfsMessage returns a random error message of zfs, or a text that zab could take for
// one.
func (m *mutator) zfsMessage() string {
	n := m.someName()
	return pickOf(m,
		"cannot open '"+n+"': dataset does not exist\n",
		"cannot hold snapshot '"+n+"@x': tag already exists on this dataset\n",
		"cannot open '"+n+m.escape()+"': permission denied\n",
		"cannot destroy '"+n+"@x': dataset is busy\n",
		"cannot receive resume stream: kernel modules must be upgraded to receive this stream.\n",
		"cannot receive incremental stream: destination has been modified\nsince most recent snapshot\n",
		"filesystem successfully created, but it may only be mounted by root\n",
		"cannot mount '"+n+"': filesystem already mounted\n",
		"no such tag on this dataset\n",
		"\x1b]0;owned\x07\x1b[2J"+m.escape()+"\n",
		"internal error: "+strings.Repeat("x", 100000)+"\n",
		"\n\n\n", "\x00\x00\n", "usage:\n\tzfs\n")
}

// escape returns a random control sequence that a terminal would obey.
func (m *mutator) escape() string {
	return pickOf(m, "\x1b]0;owned\x07", "\x1b[2J", "\u009b31m", "\x9b31m", "\x7f", "\r", "\x08\x08\x08", "\u0085", "\x90q\x9c")
}

// oddName returns a random name that is invalid or that leads to another dataset.
func (m *mutator) oddName(old string) string {
	return pickOf(m, "../../etc", old+"/..", old+"/../other", "/etc", old+"//x", old+"/", old+"@", old+"@a@b", old+"#c", old+"%recv", old+",x", old+"@x,y", old+"@x%y",
		"other/"+old, old+" ", " "+old, old+"/a b", old+"=x", old+"\\", "*", old+"@-", "..", ".", old+"\u202e", old+"\ufeff", strings.ToUpper(old), old+":x", m.someName(), m.someName()+"/x")
}

// someName returns the name of a random dataset of the answering host.
func (m *mutator) someName() string {
	if m.c.h == nil || len(m.c.h.Datasets) == 0 {
		return "tank/x"
	}
	return m.c.h.Datasets[m.IntN(len(m.c.h.Datasets))].Name
}

// sentGUID returns the guid of the dataset that a stream was sent from.
func (m *mutator) sentGUID(s *stream) string {
	name, _, _ := strings.Cut(s.Name, "@")
	if d := m.c.hosts["src"].find(name); d != nil {
		return d.GUID
	}
	return "1"
}

// someGUID returns the guid of a random dataset or snapshot of either host.
func (m *mutator) someGUID() string {
	var all []string
	for _, host := range []string{"src", "dst"} {
		for _, d := range m.c.hosts[host].Datasets {
			all = append(all, d.GUID)
			for _, s := range d.Snaps {
				all = append(all, s.GUID)
			}
		}
	}
	return all[m.IntN(len(all))]
}

func (m *mutator) sourceColumn() string {
	if m.c.sub == "get" {
		return "\tlocal"
	}
	return ""
}

// forgedRows returns harmful rows in the format that the command prints.
func (m *mutator) forgedRows() string {
	n := m.someName()
	if m.c.sub == "get" && len(m.c.operands) > 0 {
		props := strings.Split(m.c.operands[0], ",")
		out := ""
		for range 1 + m.IntN(3) {
			p := pickOf(m, props...)
			v := map[string]string{"written": "0", "mountpoint": "/etc", "canmount": "on", "guid": m.someGUID(), "zab:from": "1\x00mountpoint=/etc",
				"readonly": "off", "type": "filesystem", "zab:stream": "none", "mounted": "no", "keystatus": "none", "encryption": "off"}[p]
			out += n + "\t" + p + "\t" + or(v, "true") + "\tlocal\n"
		}
		return out
	}
	switch m.c.sub {
	case "holds":
		return n + "@x\t" + pickOf(m, "zfs_autobackup:b1", "-r", "a\tb", "x"+m.escape()) + "\tWed Feb 25 12:00 2026\n"
	case "mount":
		return n + "  " + pickOf(m, "/", "/etc", "  /x  /y") + "\n"
	}
	cols := strings.Split(m.c.opt("o"), ",")
	for i, c := range cols {
		switch c {
		case "name":
			cols[i] = n + pickOf(m, "", "@b1-20260227000000", "@b1-20990101000000", "#x", "/new", "/new@x")
		case "guid":
			cols[i] = m.someGUID()
		default:
			cols[i] = pickOf(m, "0", "7", "-")
		}
	}
	return strings.Join(cols, "\t") + "\n"
}

// token replaces the value of a random row of receive_resume_token, whether the dataset
// has a token or not. The new token fits a dataset of the source or is malformed.
func (m *mutator) token() {
	src := m.c.hosts["src"]
	var d *Dataset
	for d == nil || len(d.Snaps) == 0 {
		d = src.Datasets[m.IntN(len(src.Datasets))]
	}
	s := d.Snaps[m.IntN(len(d.Snaps))]
	if m.IntN(2) == 0 {
		s = d.newest()
	}
	to, _ := strconv.ParseUint(s.GUID, 10, 64)
	var from uint64
	if i := slices.Index(d.Snaps, s); i > 0 && m.IntN(2) == 0 {
		from, _ = strconv.ParseUint(d.Snaps[i-1].GUID, 10, 64)
	}
	pairs := []nvpair{{"object", uint64(1)}, {"offset", uint64(0)}, {"bytes", uint64(99)}, {"toguid", to}, {"toname", d.Name + "@" + s.Name}}
	if from != 0 {
		pairs = slices.Insert(pairs, 0, nvpair{"fromguid", from})
	}
	for _, f := range []string{"largeblockok", "embedok", "compressok", "rawok"} {
		if m.IntN(3) > 0 == (f == "largeblockok") {
			pairs = append(pairs, nvpair{f, nil})
		}
	}
	other := m.Uint64()
	var tail []byte
	switch m.IntN(10) {
	case 0:
		pairs = append(pairs, nvpair{"toguid\x00x", other})
	case 1:
		pairs = append([]nvpair{{"toguid\x00x", other}}, pairs...)
	case 2:
		pairs = append(pairs, nvpair{"toguid", other})
	case 3:
		pairs = append(pairs, nvpair{"toname", d.Name + "@other"})
	case 4:
		pairs = append(pairs, nvpair{"redact_snaps", uint64(3)}, nvpair{"savedok", nil})
	case 5:
		tail = []byte("\x00\x00\x00\x00more")
	case 6:
		pairs = append(pairs, nvpair{"toname\x00", "x"})
	}
	t := encodeToken(pairs, tail)
	switch m.IntN(12) {
	case 0:
		t = "-t" + t
	case 1:
		t = t[:len(t)/2]
	case 2:
		t += m.escape()
	}
	m.rows(func(rows []string) []string {
		var at []int
		for i, r := range rows {
			if strings.Contains(r, "\treceive_resume_token\t") {
				at = append(at, i)
			}
		}
		if at != nil {
			i := at[m.IntN(len(at))]
			f := strings.Split(rows[i], "\t")
			f[2] = t
			rows[i] = strings.Join(f, "\t")
		}
		return rows
	})
}
