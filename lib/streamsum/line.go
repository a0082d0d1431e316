package streamsum

import (
	"encoding/json"
	"fmt"
	"strconv"

	"zab/lib/dataset"
	"zab/lib/hashfunc"
)

// Line is a Result as zab-digest prints it; zab-digest(8) describes the fields.
type Line struct {
	Type      string `json:"type"`
	Version   int    `json:"version"`
	Algorithm string `json:"algorithm"`
	Name      string `json:"name"`
	GUID      string `json:"guid"`
	FromGUID  string `json:"from_guid,omitempty"`
	Kind      string `json:"kind"`
	Raw       bool   `json:"raw"`
	Objects   int64  `json:"objects"`
	Last      uint64 `json:"last_object"`
	Bytes     int64  `json:"bytes"`
	Stream    int64  `json:"stream"`
	Digest    string `json:"digest"`
}

// Line returns the result as zab-digest prints it.
func (r *Result) Line() Line {
	l := Line{Type: "digest", Version: Version, Algorithm: r.Hash.String(), Name: r.Name, GUID: strconv.FormatUint(r.GUID, 10),
		Kind: "filesystem", Raw: r.Raw, Objects: r.Objects, Last: r.Last, Bytes: r.Bytes, Stream: r.Stream, Digest: r.Digest.String()}
	if r.Volume {
		l.Kind = "volume"
	}
	if r.FromGUID != 0 {
		l.FromGUID = strconv.FormatUint(r.FromGUID, 10)
	}
	return l
}

// ParseLine parses a line that another host's zab-digest printed. A digest of another form
// than this version computes, or with another hash function, is an error.
func ParseLine(text string, hash hashfunc.Func) (l Line, err error) {
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return Line{}, fmt.Errorf("it is not the line of a digest: %w", err)
	}
	guids := []string{l.GUID}
	if l.FromGUID != "" {
		guids = append(guids, l.FromGUID)
	}
	for _, g := range guids {
		if _, err := dataset.ParseGUID(g); err != nil {
			return Line{}, err
		}
	}
	answered, digest := hash.CheckAnswer(l.Version, Version, l.Algorithm), hashfunc.CheckSum(l.Digest)
	switch {
	case l.Type != "digest":
		return Line{}, fmt.Errorf("it is not the line of a digest: its type is %.40q", l.Type)
	case answered != nil:
		return Line{}, answered
	case digest != nil:
		return Line{}, digest
	case l.Stream < 0 || l.Bytes < 0 || l.Objects < 0:
		return Line{}, fmt.Errorf("it has a negative number")
	}
	return l, nil
}
