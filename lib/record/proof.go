package record

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"zab/lib/dataset"
)

// Proof is what is known of a copy from its last verification: the value of the property
// zab:verified.
type Proof struct {
	// GUID is the guid of the snapshot that was compared; while the copy differs, of the
	// first one that did.
	GUID string
	// At is when it was compared, Full when last in full: seconds since the epoch by the
	// clock of the machine that compared. Full is 0 if it never was.
	At, Full int64
	// How is ProofFull, ProofIncrement or ProofDifferent.
	How string
	// Last is a number which no object of the snapshot exceeds; see zab-digest(8).
	Last uint64
	// Source is the guid of the dataset with which the copy was compared; "" in a mark of
	// an earlier version, or where it is not known.
	Source string
}

// The values of Proof.How.
const (
	ProofFull      = "full"      // the whole snapshot is equal
	ProofIncrement = "increment" // what changed since the previous proof is equal
	ProofDifferent = "different" // the copy differs
)

// String returns the text that ParseProof parses.
func (p Proof) String() string {
	s := fmt.Sprintf("%s:%d:%s:%d:%d", p.GUID, p.At, p.How, p.Full, p.Last)
	if p.Source != "" {
		s += ":" + p.Source
	}
	return s
}

// Of reports whether the proof is one of a comparison with the dataset with this guid. What
// differed in an earlier version counts for every dataset.
func (p *Proof) Of(source string) bool {
	return p.Source == source || p.Source == "" && p.How == ProofDifferent
}

// ParseProof parses a value of zab:verified: guid, time, how, time of the last full
// comparison, the highest number of an object, and the guid of the source, with colons
// between them. Earlier versions left out the last.
func ParseProof(s string) (p Proof, err error) {
	f := strings.Split(s, ":")
	if len(f) != 5 && len(f) != 6 {
		return Proof{}, fmt.Errorf("%q is not a proof: it has %d parts, not 6", s, len(f))
	}
	guid, err := strconv.ParseUint(f[0], 10, 64)
	at, err1 := strconv.ParseInt(f[1], 10, 64)
	full, err2 := strconv.ParseInt(f[3], 10, 64)
	last, err3 := strconv.ParseUint(f[4], 10, 64)
	p = Proof{GUID: strconv.FormatUint(guid, 10), At: at, How: f[2], Full: full, Last: last}
	if len(f) == 6 {
		if _, err := dataset.ParseGUID(f[5]); err != nil {
			return Proof{}, fmt.Errorf("%q is not a proof: %w", s, err)
		}
		p.Source = f[5]
	}
	switch {
	case err != nil || err1 != nil || err2 != nil || err3 != nil || guid == 0 || at < 0 || full < 0 || p.String() != s:
		return Proof{}, fmt.Errorf("%q is not a proof: a number in it is none", s)
	case p.How != ProofFull && p.How != ProofIncrement && p.How != ProofDifferent:
		return Proof{}, fmt.Errorf("%q is not a proof: %q is none of full, increment and different", s, p.How)
	}
	return p, nil
}

// Verify is the outcome of zab-verify for a copy.
type Verify struct {
	// Result is VerifyEqual, VerifyProved, VerifyDifferent, VerifyUnproved or
	// VerifyPostponed.
	Result string `json:"result"`
	// Method is VerifyByFiles; absent if streams were compared.
	Method string `json:"method,omitzero"`
	// Why is why nothing was proved, or why the comparison was postponed.
	Why string `json:"why,omitzero"`
	// Snapshot is the name of the snapshot that was compared, GUID its guid.
	Snapshot string `json:"snapshot,omitzero"`
	GUID     string `json:"guid,omitzero"`
	// From is the name of the snapshot from which an increment was compared; absent if the
	// snapshot was compared in full.
	From string `json:"from,omitzero"`
	// Raw: the encrypted data was compared as it is stored, without keys.
	Raw bool `json:"raw,omitzero"`
	// Fetched are the sides, source and target, whose stream was sent to this machine to
	// be digested here.
	Fetched []string `json:"fetched,omitzero"`
	// Digest is the digest of both streams, or of the files of both sides, in hexadecimal;
	// absent if they differ.
	Digest string `json:"digest,omitzero"`
	// Algorithm is the hash function of the digest, a name of hashfunc.
	Algorithm string `json:"algorithm,omitzero"`
	// Bytes is the length of the source's stream, or of the contents of its files; Seconds
	// the duration of the comparison.
	Bytes   *int64   `json:"bytes,omitzero"`
	Seconds *float64 `json:"seconds,omitzero"`
	// Objects are the first objects that differ.
	Objects []DifferentObject `json:"objects,omitzero"`
	// Files are the first names that differ, where files were compared.
	Files []DifferentFile `json:"files,omitzero"`
	// At and Full are the times of the latest proof by streams and of the latest one in
	// full, in seconds since the epoch; absent if there is none.
	At   *int64 `json:"at,omitzero"`
	Full *int64 `json:"full,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// The values of Verify.Result.
const (
	VerifyEqual     = "equal"
	VerifyProved    = "proved" // before; no snapshot was received since
	VerifyDifferent = "different"
	VerifyUnproved  = "unproved"  // nothing could be compared
	VerifyPostponed = "postponed" // the budget was spent
)

// VerifyByFiles is the value of Verify.Method where the files of both sides were compared,
// not their streams.
const VerifyByFiles = "files"

// DifferentFile is a name in the tree of a snapshot that its copy does not have in the same
// form.
type DifferentFile struct {
	// Path is the path of the file within the filesystem, with escapes: see filetree.Escape.
	Path string `json:"path"`
	// Where is source or target if only that side has the name; absent if both have it.
	Where string `json:"where,omitzero"`
	// What is what differs, in words of filetree.Difference; absent if only one side has
	// the name.
	What []string `json:"what,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// DifferentObject is an object of a snapshot that its copy does not have in the same form.
type DifferentObject struct {
	// Object is the number of the object, which in a filesystem is that of the inode.
	Object int64 `json:"object"`
	// Where is source or target if only that side has the object; absent if both have it.
	Where string `json:"where,omitzero"`
	// Path is the path of the file within the filesystem, if it was found.
	Path string `json:"path,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}
