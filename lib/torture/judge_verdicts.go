package torture

import (
	"bytes"
	"encoding/json"
)

// judgeVerdicts checks P7: each selected dataset has one final record in the output of zab,
// and the exit status is not 0 if, and only if, a record has an error.
func (h *history) judgeVerdicts(a *attempt, status int, w *world, lines []byte) {
	if h.over || a.nothingSelected || status < 0 || status == 255 || a.fault != nil && a.fault.kills() {
		return
	}
	count, failed := map[string]int{}, 0
	for line := range bytes.Lines(lines) {
		var r struct {
			Type, Name string
			Excluded   bool
			Error      *struct{ Kind, Message string }
			Snapshot   struct {
				Error *struct{ Kind, Message string }
			}
		}
		if err := json.Unmarshal(line, &r); err != nil {
			h.breaks("P7", "status %d and a record that is none: %v in %.300s", status, err, line)
			return
		}
		if r.Type != "dataset" || r.Excluded {
			continue
		}
		count[r.Name]++
		if r.Error == nil {
			r.Error = r.Snapshot.Error
		}
		if r.Error != nil {
			failed++
			if r.Error.Kind == "" || r.Error.Message == "" {
				h.breaks("P7", "an error without a word: %.500s", line)
				return
			}
		}
	}
	for _, d := range h.selected(w) {
		if count[d.name] != 1 {
			h.breaks("P7", "status %d, and '%s' has %d final records of %d", status, d.name, count[d.name], len(count))
			return
		}
	}
	if (failed > 0) != (status > 0) {
		h.breaks("P7", "status %d, and %d records have errors", status, failed)
	}
}
