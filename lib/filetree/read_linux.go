package filetree

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"zab/lib/hashfunc"
)

// Read reads the tree below a directory and returns its digest. It needs /proc, for the
// attributes of what it does not open.
//
// The tree must not change meanwhile; a change that is noticed is an error.
func Read(ctx context.Context, top *os.File, o Options) (Result, error) {
	t := &tree{ctx: ctx, o: o, top: top, hash: o.Hash.New(), content: o.Hash.New(), buffer: make([]byte, 1<<20), left: cmp.Or(o.Names, maxNames), links: map[uint64]*links{}}
	t.visit = t.entry
	if err := t.read(); err != nil {
		return Result{}, err
	}
	t.hash.Sum(t.res.Digest[:0])
	t.res.Hash = o.Hash
	return t.res, nil
}

// FindNames calls found with the first name, in the order of the tree, of each of the
// objects that has one below a directory, and seen at least for each name that is looked at.
// Contents are not read, and what cannot be read is passed over. found's error ends the
// search. Like Read it needs /proc.
func FindNames(ctx context.Context, top *os.File, objects []uint64, seen func(), found func(Name) error) error {
	left := make(map[uint64]bool, len(objects))
	for _, n := range objects {
		left[n] = true
	}
	t := &tree{ctx: ctx, top: top, left: maxNames, seen: seen}
	t.visit = func(_ *os.File, _, path string, st *unix.Statx_t) error {
		seen()
		if left[st.Ino] {
			delete(left, st.Ino)
			if err := found(Name{"name", st.Ino, Escape(path)}); err != nil {
				return err
			}
		}
		if len(left) == 0 {
			return errAllFound
		}
		return nil
	}
	if err := t.read(); !errors.Is(err, errAllFound) {
		return err
	}
	return nil
}

var errAllFound = errors.New("all were found")

// tree is the state of a Read or a FindNames.
type tree struct {
	ctx context.Context
	o   Options
	top *os.File
	// visit is called for each entry, with the directory and its name in that, or "" for the
	// directory itself; path is from the top.
	visit func(dir *os.File, name, path string, st *unix.Statx_t) error
	// seen, if set, is called for each part of a directory that was read, and for what cannot
	// be read, which is passed over then.
	seen    func()
	hash    hash.Hash
	content hash.Hash // of one file after the other
	res     Result
	buffer  []byte
	left    int64 // bytes that further names may take
	dev     uint64
	links   map[uint64]*links // by inode
}

// links is a file with several names.
type links struct {
	path string // the first, escaped
	left uint32 // names that were not seen yet
}

// level is a directory on the way from the top to the one that is read.
type level struct {
	names []string // that are left
	ino   uint64
	path  string // with a slash at the end; "" at the top
	size  int64  // of its names in memory
}

// pass returns the error of a path, or nil if the path is passed over.
func (t *tree) pass(path string, err error) error {
	switch {
	case t.seen != nil:
		t.seen()
		return nil
	case len(path) > maxPath:
		return &PathError{Escape(path[:80]) + "...", err}
	}
	return &PathError{Escape(path), err}
}

// read goes through the tree without recursion, and with two open directories at most: to
// go back up it opens "..", so that a deep tree does not use up the process's descriptors.
func (t *tree) read() error {
	fd, err := unix.Openat(int(t.top.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &PathError{".", err}
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer func() { dir.Close() }()
	var st unix.Statx_t
	if err := stat(fd, "", unix.AT_EMPTY_PATH, &st); err != nil {
		return &PathError{".", err}
	}
	t.dev = unix.Mkdev(st.Dev_major, st.Dev_minor)
	if err := t.visit(dir, "", ".", &st); err != nil {
		return err
	}
	here, err := t.list(dir, "", st.Ino)
	if err != nil {
		return err
	}
	above := []*level{}
	for {
		if err := t.ctx.Err(); err != nil {
			return context.Cause(t.ctx)
		}
		if len(here.names) == 0 {
			if len(above) == 0 {
				return nil
			}
			t.left += here.size
			here, above = above[len(above)-1], above[:len(above)-1]
			up, err := reopen(dir, "..", here.ino)
			if err != nil {
				return &PathError{Escape(cmp.Or(strings.TrimSuffix(here.path, "/"), ".")), err}
			}
			dir.Close()
			dir = up
			continue
		}
		name := here.names[0]
		here.names = here.names[1:]
		path := here.path + name
		if err := t.look(dir, name, path, &st); err != nil {
			if err := t.pass(path, err); err != nil {
				return err
			}
			continue
		}
		var down *os.File
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if down, err = reopen(dir, name, st.Ino); err != nil {
				if err := t.pass(path, err); err != nil {
					return err
				}
			} else if t.seen != nil && !leads(down, here.ino) {
				down.Close()
				down = nil
			}
		}
		if down == nil {
			if err := t.visit(dir, name, path, &st); err != nil {
				return err
			}
			continue
		}
		err = t.visit(down, "", path, &st)
		var next *level
		if err == nil {
			next, err = t.list(down, path+"/", st.Ino)
		}
		if err != nil {
			down.Close()
			return err
		}
		above, here = append(above, here), next
		dir.Close()
		dir = down
	}
}

// leads reports whether a directory can be left upwards. One that may be read, but not
// searched, cannot.
func leads(down *os.File, ino uint64) bool {
	up, err := reopen(down, "..", ino)
	if err != nil {
		return false
	}
	up.Close()
	return true
}

// look asks for what belongs to an entry that the tree may have.
func (t *tree) look(dir *os.File, name, path string, st *unix.Statx_t) error {
	if len(path) > maxPath {
		return fmt.Errorf("its path is longer than %d bytes", maxPath)
	}
	if err := stat(int(dir.Fd()), name, 0, st); err != nil {
		return err
	}
	if unix.Mkdev(st.Dev_major, st.Dev_minor) != t.dev || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return errors.New("another file system is mounted there")
	}
	return nil
}

// stat asks for all that belongs to an entry.
func stat(dir int, name string, flags int, st *unix.Statx_t) error {
	return again(func() error {
		return unix.Statx(dir, name, flags|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, st)
	})
}

// again repeats a call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// reopen opens a directory, which has to have that inode.
func reopen(dir *os.File, name string, ino uint64) (*os.File, error) {
	f, err := openAt(dir, name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	var st unix.Statx_t
	if err = stat(int(f.Fd()), "", unix.AT_EMPTY_PATH, &st); err == nil && st.Ino != ino {
		err = errChanged
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var errChanged = errors.New("it was changed while it was read")

// openAt opens a regular file or a directory. It never waits, and updates no time of access.
func openAt(dir *os.File, name string, flags int) (f *os.File, err error) {
	fd := -1
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	open := func(more int) error {
		return again(func() (err error) { fd, err = unix.Openat(int(dir.Fd()), name, flags|more, 0); return err })
	}
	if err := open(unix.O_NOATIME); errors.Is(err, unix.EPERM) {
		// Only the owner of a file and root may ask for that.
		err = open(0)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// list returns the names of a directory in their order.
func (t *tree) list(dir *os.File, path string, ino uint64) (*level, error) {
	l := &level{ino: ino, path: path}
	for {
		names, err := dir.Readdirnames(4096)
		if t.seen != nil {
			t.seen()
		}
		for _, n := range names {
			l.size += int64(len(n)) + perName
		}
		l.names = append(l.names, names...)
		switch {
		case errors.Is(err, io.EOF):
			t.left -= l.size
			slices.Sort(l.names)
			return l, nil
		case t.ctx.Err() != nil:
			return nil, context.Cause(t.ctx)
		case err == nil && l.size <= t.left:
			continue
		case err == nil:
			err = errNames
		}
		return &level{ino: ino, path: path}, t.pass(cmp.Or(strings.TrimSuffix(path, "/"), "."), cause(err))
	}
}

var errNames = errors.New("there are too many names in this directory and those above, or too many files with several names, for the memory that they may take")

// cause returns an error without the words that package os puts before it.
func cause(err error) error {
	var in *os.PathError
	if errors.As(err, &in) {
		return in.Err
	}
	return err
}

// The types of entries, by their bits of the mode.
var kinds = map[uint16]string{unix.S_IFREG: KindFile, unix.S_IFDIR: KindDirectory, unix.S_IFLNK: KindLink, unix.S_IFIFO: KindFIFO,
	unix.S_IFSOCK: KindSocket, unix.S_IFBLK: KindBlock, unix.S_IFCHR: KindCharacter}

// entry digests the entry name of a directory, or the directory itself for "". path is from
// the top.
func (t *tree) entry(dir *os.File, name, path string, st *unix.Statx_t) error {
	e := &Entry{Type: "entry", Path: Escape(path), Kind: kinds[st.Mode&unix.S_IFMT]}
	t.res.Entries++
	if e.Kind == "" {
		return &PathError{e.Path, fmt.Errorf("its type %o is not known", st.Mode&unix.S_IFMT)}
	}
	if first := t.first(e, st); first != "" {
		e.Same = first
		return t.add(e)
	}
	if e.Kind != KindDirectory && t.left < 0 {
		return &PathError{e.Path, errNames}
	}
	e.Mode = strconv.FormatUint(uint64(st.Mode)&0o7777, 8)
	e.Owner = fmt.Sprintf("%d:%d", st.Uid, st.Gid)
	e.MTime, e.Flags = fmt.Sprintf("%d.%09d", st.Mtime.Sec, st.Mtime.Nsec), flagLetters(st.Attributes)
	var err error
	switch e.Kind {
	case KindFile:
		err = t.file(dir, name, e, st)
	case KindLink:
		if e.Target, err = readLink(dir, name, st); err == nil {
			e.Target = Escape(e.Target)
		}
	case KindBlock, KindCharacter:
		e.Device = fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor)
	}
	if err == nil {
		e.Attributes, err = attributes(dir, cmp.Or(name, "."), t.o.Hash)
	}
	if err != nil {
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		return &PathError{e.Path, cause(err)}
	}
	return t.add(e)
}

// first returns the first path of a file that has several, if this is another, and notes it
// otherwise.
func (t *tree) first(e *Entry, st *unix.Statx_t) string {
	if e.Kind == KindDirectory || st.Nlink < 2 {
		return ""
	}
	size := func(path string) int64 { return int64(len(path)) + 3*perName }
	l := t.links[st.Ino]
	if l == nil {
		t.links[st.Ino] = &links{e.Path, st.Nlink - 1}
		t.left -= size(e.Path)
		return ""
	}
	if l.left--; l.left == 0 {
		delete(t.links, st.Ino)
		t.left += size(l.path)
	}
	return l.path
}

// add adds an entry to the digest.
func (t *tree) add(e *Entry) error {
	_, _ = io.WriteString(t.hash, e.String()+"\n")
	if t.o.Each == nil {
		return nil
	}
	return t.o.Each(e)
}

// flagLetters are those of the attributes of statx that ZFS has.
func flagLetters(attributes uint64) (s string) {
	for _, f := range []struct {
		bit    uint64
		letter string
	}{{unix.STATX_ATTR_IMMUTABLE, "i"}, {unix.STATX_ATTR_APPEND, "a"}, {unix.STATX_ATTR_NODUMP, "d"}} {
		if attributes&f.bit != 0 {
			s += f.letter
		}
	}
	return s
}

// file reads the content and the attributes of a regular file.
func (t *tree) file(dir *os.File, name string, e *Entry, st *unix.Statx_t) error {
	f, err := openAt(dir, name, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var now unix.Statx_t
	if err := stat(int(f.Fd()), "", unix.AT_EMPTY_PATH, &now); err != nil {
		return err
	}
	if now.Ino != st.Ino || now.Mode != st.Mode || now.Size != st.Size {
		return errChanged
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL) // only for speed
	t.content.Reset()
	for {
		n, err := 0, error(nil)
		err = again(func() (err error) { n, err = unix.Read(int(f.Fd()), t.buffer); return err })
		if err != nil {
			return err
		}
		if n <= 0 {
			break
		}
		t.content.Write(t.buffer[:n])
		e.Size += int64(n)
		t.res.Bytes += int64(n)
		if t.o.Took != nil {
			if err := t.o.Took(n); err != nil {
				return err
			}
		}
		if t.ctx.Err() != nil {
			return t.ctx.Err()
		}
	}
	if uint64(e.Size) != st.Size {
		return errChanged
	}
	e.Content = hex.EncodeToString(t.content.Sum(nil))
	return nil
}

func readLink(dir *os.File, name string, st *unix.Statx_t) (string, error) {
	b := make([]byte, 64<<10)
	n := 0
	err := again(func() (err error) { n, err = unix.Readlinkat(int(dir.Fd()), name, b); return err })
	if err == nil && uint64(n) != st.Size {
		err = errChanged
	}
	return string(b[:max(n, 0)]), err
}

// attributes returns the digest of the extended attributes of a name in a directory: of the
// attributes' names in their order, each followed by its value, and of each the length before
// it, as 64 bits with the least significant byte first.
//
// The kernel is told the directory below /proc, because there is no call for a name in an
// open directory before Linux 6.13, and what is no file or directory must not be opened.
func attributes(dir *os.File, name string, sum hashfunc.Func) (string, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
	b, err := grown(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return "", nil
	case errors.Is(err, unix.E2BIG):
		return "", errors.New("the names of its extended attributes are more than Linux lists")
	}
	if err != nil || len(b) == 0 {
		return "", err
	}
	names := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	slices.Sort(names)
	h := sum.New()
	add := func(b []byte) {
		_ = binary.Write(h, binary.LittleEndian, uint64(len(b)))
		h.Write(b)
	}
	for _, n := range names {
		v, err := grown(func(b []byte) (int, error) { return unix.Lgetxattr(path, n, b) })
		if err != nil {
			return "", fmt.Errorf("its attribute %q: %w", n, err)
		}
		add([]byte(n))
		add(v)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// grown calls get with a buffer that is large enough.
func grown(get func([]byte) (int, error)) ([]byte, error) {
	b := make([]byte, 512)
	for {
		n := 0
		err := again(func() (err error) { n, err = get(b); return err })
		if errors.Is(err, unix.ERANGE) && len(b) < 1<<20 {
			b = make([]byte, 8*len(b))
			continue
		}
		if err != nil {
			return nil, err
		}
		return bytes.Clone(b[:n]), nil
	}
}
