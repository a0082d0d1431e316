package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"zab/lib/dataset"
	"zab/lib/record"
)

// Files is a snapshot of this machine that is mounted where only this process sees it,
// read-only and without devices, programs and setuid.
type Files struct {
	// Top is its directory. The snapshot stays mounted until that is closed, or the
	// process has ended, and cannot be destroyed before.
	Top  *os.File
	GUID string
	// XAttr tells whether ZFS shows extended attributes, "on" or "off"; ACLType whether it
	// shows ACLs of POSIX, "posix" or "off". Snapshots have these properties from their
	// dataset.
	XAttr, ACLType string

	h   *Host
	row Row
}

// OpenFiles mounts a snapshot of a filesystem. It is for this machine alone.
func (h *Host) OpenFiles(ctx context.Context, p dataset.Point) (*Files, error) {
	row, err := h.filesRow(ctx, p)
	if err != nil {
		return nil, err
	}
	f := &Files{GUID: row.GUID, XAttr: "on", ACLType: "off", h: h, row: row}
	switch xattr, key := row.Extra[0], row.Extra[2]; {
	case xattr == "":
		return nil, fmt.Errorf("'%s' is a snapshot of a volume, which has no files", p)
	case key == "unavailable":
		return nil, &Error{Kind: record.KindKey, Code: -1, Lines: []string{fmt.Sprintf("cannot mount '%s': its key is not loaded", p)}}
	case xattr == "off":
		f.XAttr = "off"
	}
	if acl := row.Extra[1]; acl == "posix" || acl == "posixacl" { // the latter before ZFS 2.0
		f.ACLType = "posix"
	}
	f.Top, err = mountAlone(ctx, p.String())
	// What is redacted the kernel calls busy; or, if it may be mounted, it shows zeros for
	// what is left out.
	if errors.Is(err, syscall.EBUSY) || err == nil && mountsRedacted() {
		if e := h.complete(ctx, p); err == nil || KindOf(e) == record.KindUnproved {
			err = e
		}
	}
	if err != nil {
		if f.Top != nil {
			f.Top.Close()
		}
		return nil, err
	}
	return f, nil
}

// Close unmounts the snapshot. Its error means that what was read may be that of another
// snapshot, or may have been read in another way.
func (f *Files) Close(ctx context.Context) error {
	defer f.Top.Close()
	// As long as it is mounted none can take its place; before, one could.
	point := dataset.Point{Dataset: dataset.Name(f.row.Dataset), Name: dataset.Short(f.row.Snapshot)}
	now, err := f.h.filesRow(ctx, point)
	if err == nil && (now.GUID != f.GUID || now.Extra[0] != f.row.Extra[0] || now.Extra[1] != f.row.Extra[1]) {
		err = &Error{Kind: record.KindMovedOn, Code: -1, Lines: []string{fmt.Sprintf("'%s' was replaced, or its properties xattr and acltype changed, while it was read", point)}}
	}
	return err
}

func (h *Host) filesRow(ctx context.Context, p dataset.Point) (Row, error) {
	found, err := h.find(ctx, []string{p.String()}, []string{"xattr", "acltype", "keystatus"})
	if err != nil {
		return Row{}, err
	}
	row, ok := found[p.String()]
	if !ok {
		return Row{}, &Error{Kind: record.KindNotFound, Code: -1, Lines: []string{fmt.Sprintf("'%s' does not exist", p)}}
	}
	return row, nil
}

// errRoot is the error of a user who cannot mount.
func errRoot(snapshot string, err error) error {
	return &Error{Kind: record.KindPermission, Code: -1, Lines: []string{fmt.Sprintf("cannot mount '%s' for this process alone: %s", snapshot, err)}}
}

// HintOfFiles is HintOf for errors of OpenFiles and DigestFiles.
func HintOfFiles(err error) string {
	if KindOf(err) == record.KindPermission {
		return "the files of a snapshot can only be read by root, or with CAP_SYS_ADMIN: 'zfs allow' does not suffice; a unit of systemd needs RestrictNamespaces=mnt, or none"
	}
	return HintOf(err)
}

// filesLine prints what zab-digest --files prints, or nothing if that is not installed. Its
// first argument is the file of zab-digest, if it is there; those of zab-digest follow.
const filesLine = `d=$1; shift; [ -n "$d" ] && [ -x "$d" ] || d=zab-digest; command -v "$d" >/dev/null 2>&1 || exit 0; exec "$d" --files "$@"`

// DigestFiles has the host compute the digest of the files of one of its snapshots, or find
// names of them, by zab-digest --files with further options. On this machine, too, that is a
// process of its own, which can be left behind if its pool does not answer. row is called
// with each line that it prints but signs of life, and never if the host does not have the
// program. The error is ErrHash if that does not know the hash function.
func (h *Host) DigestFiles(ctx context.Context, snapshot string, hash fmt.Stringer, options []string, signs Signs, row func(line string) error) error {
	if _, err := dataset.ParseSnapshot(snapshot); err != nil {
		return badArgument(err)
	}
	beside := ""
	if self, err := os.Executable(); err == nil && h.Here() {
		beside = filepath.Join(filepath.Dir(self), "zab-digest")
	}
	argv := slices.Concat([]string{"/bin/sh", "-c", filesLine, "zab", beside}, hashOptions(hash), options, signs.options(), []string{snapshot})
	err := hashError(hash, h.do(ctx, call{argv: argv, row: signs.without(row)}))
	var e *Error
	if errors.As(err, &e) {
		// The caller says the same, and has hints of its own.
		e.Lines = slices.DeleteFunc(e.Lines, func(l string) bool { return strings.HasPrefix(l, "zab-digest: hint: ") })
		for i, l := range e.Lines {
			l = strings.TrimPrefix(l, "zab-digest: ")
			l = strings.TrimPrefix(l, "cannot digest the files of '"+snapshot+"': ")
			e.Lines[i] = strings.TrimPrefix(l, "cannot find names in '"+snapshot+"': ")
		}
		if e.Complete() && e.says(notComplete) {
			e.Kind = record.KindUnproved
		}
	}
	return err
}
