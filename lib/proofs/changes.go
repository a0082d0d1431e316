package proofs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// This file makes the datasets and changes them.

const volumeSize = 4 << 20

func (h *history) create() {
	r := h.r
	argv := []string{"zfs", "create", "-o", "autobackup:" + r.name() + "=true"}
	h.kind = r.pick("filesystem", "filesystem", "filesystem", "clone", "promoted", "volume", "encrypted")
	h.first = h
	var origin *history
	if h.kind == "clone" || h.kind == "promoted" {
		for _, o := range r.all {
			if o.kind == "filesystem" && o != h {
				origin = o
			}
		}
		if origin == nil {
			h.kind = "filesystem"
		}
	}
	switch h.kind {
	case "clone", "promoted":
		at := origin.name + "@" + filepath.Base(h.name)
		r.do("zfs", "snapshot", at)
		argv[1] = "clone"
		argv = append(argv, at)
		h.files, h.counter, h.first = slices.Clone(origin.files), origin.counter, origin.first
	case "volume":
		argv = append(argv, "-V", fmt.Sprint(volumeSize), "-o", "volblocksize="+r.pick("4k", "16k", "64k"))
	case "encrypted":
		argv = append(argv, "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+r.dir+"/key")
	default:
		argv = append(argv, "-o", "acltype="+r.pick("off", "posix"))
	}
	r.do(append(argv, h.name)...)
	if h.kind == "promoted" {
		r.do("zfs", "promote", h.name)
	}
	for range 3 {
		h.write(h.newFile())
	}
}

// onFiles reports whether the dataset is a filesystem whose copy is mounted.
func (h *history) onFiles() bool { return h.kind != "volume" && h.kind != "encrypted" }

// writeToCopy writes into the copy, if there is one that is mounted, and into the source, so
// that there is something to send.
func (h *history) writeToCopy() {
	dir := filepath.Join(h.r.dir, h.copy())
	if out, _ := h.r.try("zfs", "get", "-Ho", "value", "mounted", h.copy()); out != "yes\n" {
		return
	}
	h.r.do("mount", "-o", "remount,rw", dir)
	must(os.WriteFile(filepath.Join(dir, "foreign"), []byte("foreign"), 0o600))
	h.r.do("zpool", "sync", h.r.dst)
	h.write(h.newFile())
	h.r.do("zpool", "sync", h.r.src)
}

func (h *history) dir() string { return filepath.Join(h.r.dir, h.r.src, filepath.Base(h.name)) }

// device is that of a volume, which udev makes.
func (h *history) device() string { return "/dev/zvol/" + h.name }

func (h *history) newFile() string {
	h.counter++
	name := fmt.Sprintf("f%d", h.counter)
	if h.r.oneIn(3) {
		name = fmt.Sprintf("d%d/%s", h.r.rng.Intn(3), name)
	}
	h.files = append(h.files, name)
	return name
}

// random returns bytes that no pool can compress, or now and then some that it can.
func (h *history) random(n int) []byte {
	data := make([]byte, n)
	if h.r.oneIn(5) {
		for i := range data {
			data[i] = byte(i / 700)
		}
		return data
	}
	h.r.rng.Read(data)
	return data
}

// write writes somewhere into a file, or into a volume.
func (h *history) write(file string) {
	rng := h.r.rng
	data := h.random(1 + rng.Intn([]int{100, 5000, 300000}[rng.Intn(3)]))
	path, at, flags := filepath.Join(h.dir(), file), rng.Int63n(400000), os.O_WRONLY|os.O_CREATE
	if h.kind == "volume" {
		path, flags = h.device(), os.O_WRONLY
		at = rng.Int63n(int64(volumeSize - len(data)))
		h.await(path)
	} else {
		must(os.MkdirAll(filepath.Dir(path), 0o755))
	}
	h.r.story = append(h.r.story, fmt.Sprintf("# write %d bytes at %d into %s", len(data), at, path))
	f, err := os.OpenFile(path, flags, 0o644)
	must(err)
	_, err = f.WriteAt(data, at)
	must(err)
	must(f.Sync())
	must(f.Close())
	h.r.sum.Changes++
}

// await waits until a device is there.
func (h *history) await(path string) {
	for range 200 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	must(fmt.Errorf("%s does not come", path))
}

// change makes some changes; none of them is an error if there is nothing to change.
func (h *history) change() {
	for range h.r.rng.Intn(5) {
		if h.kind == "volume" || len(h.files) == 0 || h.r.oneIn(3) {
			h.write(h.newFile())
			continue
		}
		h.changeFile()
	}
}

func (h *history) changeFile() {
	r := h.r
	i := r.rng.Intn(len(h.files))
	path := filepath.Join(h.dir(), h.files[i])
	what := r.pick("write", "truncate", "hole", "remove", "rename", "link", "symlink", "chmod", "chown", "times", "attribute", "many")
	r.story = append(r.story, "# "+what+" "+path)
	r.sum.Changes++
	switch what {
	case "write":
		h.write(h.files[i])
	case "truncate":
		must(os.Truncate(path, r.rng.Int63n(600000)))
	case "hole":
		r.do("fallocate", "-p", "-o", fmt.Sprint(r.rng.Int63n(200000)), "-l", fmt.Sprint(1+r.rng.Int63n(200000)), path)
	case "remove":
		must(os.Remove(path))
		h.files = append(h.files[:i], h.files[i+1:]...)
	case "rename":
		name := h.newFile()
		to := filepath.Join(h.dir(), name)
		must(os.MkdirAll(filepath.Dir(to), 0o755))
		must(os.Rename(path, to))
		h.files[i] = name
		h.files = h.files[:len(h.files)-1]
	case "link":
		must(os.Link(path, fmt.Sprintf("%s.link%d", path, r.rng.Int63())))
	case "symlink":
		must(os.Symlink(string(letters(r.rng.Intn(300)+1)), fmt.Sprintf("%s.sym%d", path, r.rng.Int63())))
	case "chmod":
		must(os.Chmod(path, os.FileMode(0o600|r.rng.Intn(0o1000))))
	case "chown":
		must(os.Chown(path, r.rng.Intn(100000), r.rng.Intn(100000)))
	case "times":
		t := time.Unix(r.rng.Int63n(2e9), r.rng.Int63n(1e9))
		must(os.Chtimes(path, t, t))
	case "attribute":
		must(setAttribute(path, fmt.Sprintf("a%d", r.rng.Intn(4)), h.random(1+r.rng.Intn(20000))))
	case "many":
		must(os.MkdirAll(path+".many", 0o755))
		for range r.rng.Intn(150) {
			must(os.WriteFile(filepath.Join(path+".many", fmt.Sprint(r.rng.Intn(10000))), nil, 0o600))
		}
	}
}

func letters(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}
