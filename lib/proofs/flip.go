package proofs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sector is the least that a pool stores in one place.
const sector = 512

// flip exports the pool of the copies, changes one bit in the data of each copy in which
// it finds some, and imports the pool again. Data is found in the file of the pool by its
// contents, as the source has them. What is encrypted or compressed is not found. A clone
// shares data with its origin, so that both may change.
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
		at, bit := r.rng.Intn(len(piece)), byte(1)<<r.rng.Intn(8)
		for from := 0; ; {
			i := bytes.Index(image[from:], piece)
			if i < 0 {
				break
			}
			image[from+i+at] ^= bit
			h.flipped = true
			r.story = append(r.story, fmt.Sprintf("# one bit of '%s' is changed at %d", h.copy(), from+i+at))
			from += i + sector
		}
		if h.flipped {
			r.sum.Flipped++
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
// be anywhere else; nil if none was found in some tries.
func (h *history) piece() []byte {
	var files []string
	switch h.kind {
	case "encrypted":
		return nil
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
