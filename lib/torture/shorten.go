package torture

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// shortenFor is the time that the search for the shortest form of a history may take.
const shortenFor = 4 * time.Minute

// maxSteps is more than the number of steps of any history.
const maxSteps = 10

// shorten leaves out all steps that are not needed to break the promise, and writes the
// shortened history.
func (h *history) shorten() {
	best := h
	until := time.Now().Add(shortenFor)
	for i := 0; i < maxSteps && time.Now().Before(until); i++ {
		skip := maps.Clone(best.skipped)
		if skip == nil {
			skip = map[int]bool{}
		}
		skip[i] = true
		n := newHistory(h.t, h.config, h.sshd, h.tally, h.seed)
		n.skipped, n.shortening = skip, true
		n.play()
		if n.brokenPromise == h.brokenPromise {
			best = n
		}
	}
	var left []string
	for i := range maxSteps {
		if best.skipped[i] {
			left = append(left, strconv.Itoa(i))
		}
	}
	text := fmt.Sprintf("# %s\n# ZAB_TORTURE_SEED=%d ZAB_TORTURE_SKIP=%s ZAB_TORTURE_HISTORIES=1\n%s\n", h.brokenPromise, h.seed, strings.Join(left, ","), strings.Join(best.log, "\n"))
	fmt.Fprintf(os.Stderr, "torture: without what it does not need:\n%s", text)
	if dir := h.config.Logs; dir != "" {
		_ = os.MkdirAll(dir, 0o777)
		_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("history-%d.sh", h.seed)), []byte(text), 0o666)
	}
}
