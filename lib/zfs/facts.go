package zfs

import (
	"slices"
	"strconv"

	"zab/lib/record"
)

// FactProps are the properties of record.Facts. mountpoint and the like are
// only worth their time where something is mounted or received.
var FactProps = []string{
	"type", "guid", "createtxg", "creation", "origin",
	"encryption", "encryptionroot", "keystatus", "keyguid",
	"written", "used", "referenced", "volsize",
	"mounted", "canmount", "mountpoint", "receive_resume_token", FromProp, StreamProp, AsideProp, PoolProp,
}

// FromProp is the user property of a copy that tells which pools it came
// through: their guids, with commas between. A copy that is received again
// takes it along, so that it is found out when it comes back to where it was.
const FromProp = "zab:from"

// ChangedProp tells when a snapshot of a dataset came or went last. zfs 2.1 does
// not know it.
const ChangedProp = "snapshots_changed"

// StreamProp is the user property of a copy that tells with which of the flags
// of zfs send it was begun that must not change in its life, L and w, and whether it
// shares nothing of what streams bring, x: with commas between, or none. Old versions
// lose data where -L changes between two increments (OpenZFS issue 6224), new ones
// refuse.
const StreamProp = "zab:stream"

// StreamUnshared in StreamProp: the copy was made by a whole stream with properties
// that was received with -x sharenfs and -x sharesmb. That stays with a filesystem
// until somebody takes it back (zfs inherit -S), and need not be said again, which
// would cost a transaction for each. It does not stay where the dataset has never
// received properties, nor with a clone (tried on 2.1.11 and 2.3.2); and to one
// that exists zfs does not apply -x where the property has a value from above.
const StreamUnshared = "x"

// StreamParent is what StreamProp says of a filesystem that CreateParent made:
// no stream has begun it, and nothing is in it.
const StreamParent = "parent"

// AsideProp is the user property of a copy that --rename-aside has renamed, or
// is about to: see record.Facts.SetAside.
const AsideProp = "zab:aside"

// PoolProp is the user property of a copy that tells in which pool it was, by the
// pool's guid, when its base was held for it last. In a pool that was split off,
// restored from an image, or given another guid, it is that of the pool before.
const PoolProp = "zab:pool"

// MissingProp is the user property of a copy that tells since when its source is
// known to be missing, for --destroy-missing: seconds since the epoch, a colon,
// and a createtxg of the copy's pool that nothing received before is younger than.
// Only one that was set locally counts: one that came with a stream is the claim
// of another host.
const MissingProp = "zab:missing"

// Facts takes the properties into a record's facts. What zfs gives as - or
// none stays absent.
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
		Kind:           str("type"),
		GUID:           str("guid"),
		CreateTXG:      str("createtxg"),
		Creation:       num("creation"),
		Origin:         str("origin"),
		EncryptionRoot: str("encryptionroot"),
		KeyStatus:      str("keystatus"),
		KeyGUID:        str("keyguid"),
		Written:        num("written"),
		Used:           num("used"),
		Referenced:     num("referenced"),
		VolSize:        num("volsize"),
		Mounted:        str("mounted"),
		CanMount:       str("canmount"),
		MountPoint:     str("mountpoint"),
		ResumeToken:    str("receive_resume_token"),
		From:           d.mark(FromProp, record.CheckFrom, "local", "received"),
		Stream:         d.mark(StreamProp, record.CheckStream, "local"),
		Aside:          d.mark(AsideProp, record.CheckAside, "local"),
		Pool:           d.mark(PoolProp, record.CheckPool, "local"),

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

// mark returns the value of a property that zab set on a copy itself. What a dataset
// inherits is another's mark; and a value that zab does not write, such as one that a
// stream brought, is none.
func (d *Dataset) mark(prop string, check func(string) error, sources ...string) string {
	if v := d.Props[prop]; slices.Contains(sources, v.Source) && check(v.Value) == nil {
		return v.Value
	}
	return ""
}
