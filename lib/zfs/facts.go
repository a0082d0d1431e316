package zfs

import (
	"slices"
	"strconv"
	"strings"

	"zab/lib/aside"
	"zab/lib/record"
)

// FactProps are the properties of record.Facts. mountpoint and the like are worth their
// time only if datasets are mounted or received.
var FactProps = []string{
	"type", "guid", "createtxg", "creation", "origin",
	"encryption", "encryptionroot", "keystatus", "keyguid",
	"written", "used", "referenced", "logicalreferenced", "volsize",
	"mounted", "canmount", "mountpoint", "receive_resume_token", FromProp, StreamProp, AsideProp, PoolProp,
}

// FromProp is the user property of a copy with the guids of the pools that it came
// through, separated by commas. A copy that is received again keeps it, so that a copy
// which returns to a pool where it has been is recognized.
const FromProp = "zab:from"

// ChangedProp is the property with the time at which a snapshot of a dataset was last
// created or destroyed. zfs 2.1 does not know it.
const ChangedProp = "snapshots_changed"

// StreamProp is the user property of a copy with the flags of zfs send that must not
// change during its life: L and w if its first stream had them, and x for StreamUnshared;
// separated by commas, or none. Old versions lose data if -L changes between two
// increments (OpenZFS issue 6224), new ones refuse.
const StreamProp = "zab:stream"

// StreamUnshared in StreamProp: the copy was created by a full stream that brought sharing
// properties, and was received with -x sharenfs and -x sharesmb, so that those in later
// streams have no effect on it. A filesystem keeps these exclusions until somebody reverts
// them (zfs inherit -S), and later receives need not repeat them. They are not kept by a
// dataset that has never received properties, nor by a clone (tried on 2.1.11, 2.3.2 and
// 2.3.9). So it is claimed and believed only where the source is this machine: another
// host could begin the copy with a stream without properties.
const StreamUnshared = "x"

// StreamParent is the value of StreamProp for a filesystem that CreateParent made: no
// stream has begun it, and it is empty.
const StreamParent = "parent"

// IsParent reports whether the facts are those of a filesystem that CreateParent made and
// that nobody has mounted since, so that it holds no files.
func IsParent(f *record.Facts) bool {
	return f.Kind == "filesystem" && f.Stream == StreamParent && f.CanMount == "off" && f.Mounted != "yes"
}

// AsideProp is the user property of a copy that --rename-aside has renamed, or is about
// to rename: see aside.Recognize.
const AsideProp = "zab:aside"

// PoolProp is the user property of a copy with the guid of the pool that the copy was in
// when its base was last held for it. In a pool that was split off, restored from an
// image, or given another guid, the value is still the guid of the former pool.
const PoolProp = "zab:pool"

// MissingProp is the user property of a copy that tells since when its source is known to
// be missing, for --destroy-missing: seconds since the epoch, a colon, and a createtxg of
// the copy's pool; nothing that the copy received before has a higher createtxg. Only a
// local value counts: one that came with a stream is the claim of another host.
const MissingProp = "zab:missing"

// Facts returns the properties as a record's facts. Values that zfs gives as - stay
// absent, and so do numbers that it gives as a word such as none, and encryption that is
// off. A mountpoint is any text; bytes of it that are no UTF-8, which records cannot have,
// are replaced.
func (d *Dataset) Facts() record.Facts {
	str := func(prop string) string {
		v := d.Props[prop].Value
		if v == "-" {
			return ""
		}
		return v
	}
	num := func(prop string) *int64 {
		n, err := strconv.ParseInt(str(prop), 10, 64)
		if err != nil {
			return nil
		}
		return &n
	}
	f := record.Facts{
		Kind:              str("type"),
		GUID:              str("guid"),
		CreateTXG:         str("createtxg"),
		Creation:          num("creation"),
		Origin:            str("origin"),
		EncryptionRoot:    str("encryptionroot"),
		KeyStatus:         str("keystatus"),
		KeyGUID:           str("keyguid"),
		Written:           num("written"),
		Used:              num("used"),
		Referenced:        num("referenced"),
		LogicalReferenced: num("logicalreferenced"),
		VolSize:           num("volsize"),
		Mounted:           str("mounted"),
		CanMount:          str("canmount"),
		MountPoint:        strings.ToValidUTF8(str("mountpoint"), "\uFFFD"),
		ResumeToken:       str("receive_resume_token"),
		From:              d.mark(FromProp, record.CheckFrom, "local", "received"),
		Stream:            d.mark(StreamProp, record.CheckStream, "local"),
		Aside:             d.mark(AsideProp, aside.CheckMark, "local"),
		Pool:              d.mark(PoolProp, record.CheckPool, "local"),

		SnapshotsChanged: num(ChangedProp),
	}
	if e := str("encryption"); e != "off" {
		f.Encryption = e
	}
	if f.MountPoint != "" {
		f.MountPointSource = d.Props["mountpoint"].Source
	}
	return f
}

// mark returns the value of a property that zab set on the copy itself. An inherited
// value is the mark of another dataset, and a value in a form that zab does not write,
// such as one that a stream brought, is no mark.
func (d *Dataset) mark(prop string, check func(string) error, sources ...string) string {
	if v := d.Props[prop]; slices.Contains(sources, v.Source) && check(v.Value) == nil {
		return v.Value
	}
	return ""
}

// Proof returns the last proof that is marked on the dataset itself; nil if there is none.
func (d *Dataset) Proof() *record.Proof {
	v := d.Props[ProofProp]
	p, err := record.ParseProof(v.Value)
	if err != nil || v.Source != "local" {
		return nil
	}
	return &p
}
