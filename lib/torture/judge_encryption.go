package torture

import "strings"

// judgeEncryption checks P10: encrypted datasets have encrypted copies.
func (h *history) judgeEncryption(w *world) {
	if h.encryption == "" || h.encryption == "decrypt" {
		return
	}
	for _, t := range h.targets {
		// A dataset without snapshots is only the parent of a copy, and is empty.
		for name, c := range w.datasets {
			if strings.HasPrefix(name, t+"/"+h.source+"/t") && c.encryption == "off" && (len(c.snapshots) > 0 || c.token != "-") {
				h.breaks("P10", "'%s' is not encrypted", name)
				return
			}
		}
	}
}
