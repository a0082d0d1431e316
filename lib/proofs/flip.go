package proofs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// sector is the least that a pool stores in one place.
const sector = 512

// flip exports the pool of the copies, changes one bit in the data of each copy in which
// it finds some, and imports the pool again. Data is found in the file of the pool by its
// contents, as the source has them. What is encrypted or compressed is not found. Clones
// have data in common, stored once or several times, so that more than one copy changes.
func (r *round) flip() {
	pieces := map[*history][]byte{}
	for _, h := range r.all {
		if p := h.piece(); p != nil && !r.hidden {
			pieces[h] = p
		}
	}
	r.do("zpool", "sync", r.dst)
	r.do("zpool", "export", r.dst)
	f, err := os.OpenFile(r.image(r.dst), os.O_RDWR, 0)
	must(err)
	st, err := f.Stat()
	must(err)
	image, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	for _, h := range r.all {
		piece := pieces[h]
		if piece == nil {
			continue
		}
		at, bit, found := r.rng.Intn(len(piece)), byte(1)<<r.rng.Intn(8), false
		for from := 0; ; {
			i := bytes.Index(image[from:], piece)
			if i < 0 {
				break
			}
			image[from+i+at] ^= bit
			found = true
			r.story = append(r.story, fmt.Sprintf("# one bit of '%s' is changed at %d", h.copy(), from+i+at))
			from += i + sector
		}
		for _, relative := range r.all {
			if found && relative.first == h.first && !relative.flipped && relative.has(piece) {
				relative.flipped = true
				r.sum.Flipped++
			}
		}
	}
	must(unix.Munmap(image))
	must(f.Close())
	r.do("zpool", "import", "-d", r.dir, r.dst)
	if r.hidden {
		r.do("zfs", "load-key", r.dst+"/to")
	}
}

// piece returns a sector of data that the newest snapshot has, and that is not likely to
// be anywhere but in its clones; nil if none was found in some tries.
func (h *history) piece() []byte {
	files := h.data()
	for range 60 {
		if len(files) == 0 {
			break
		}
		f, err := os.Open(files[h.r.rng.Intn(len(files))])
		must(err)
		size, err := f.Seek(0, 2)
		must(err)
		piece := make([]byte, sector)
		ok := false
		if sectors := size / sector; sectors > 0 {
			_, err = f.ReadAt(piece, h.r.rng.Int63n(sectors)*sector)
			must(err)
			ok = varied(piece)
		}
		must(f.Close())
		if ok {
			return piece
		}
	}
	return nil
}

// data returns the paths of what has the data of the newest snapshot.
func (h *history) data() []string {
	var files []string
	switch h.kind {
	case "encrypted":
	case "volume":
		files = []string{h.device()}
	default:
		must(filepath.WalkDir(h.dir(), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && !strings.Contains(path, ".many/") {
				files = append(files, path)
			}
			return err
		}))
	}
	return files
}

// has reports whether the newest snapshot has a piece.
func (h *history) has(piece []byte) bool {
	return slices.ContainsFunc(h.data(), func(file string) bool {
		data, err := os.ReadFile(file)
		must(err)
		return bytes.Contains(data, piece)
	})
}

// varied reports whether data looks random.
func varied(data []byte) bool {
	var seen [256]bool
	n := 0
	for _, b := range data {
		if !seen[b] {
			seen[b] = true
			n++
		}
	}
	return n > 150
}
