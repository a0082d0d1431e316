package streamsum

import (
	"encoding/json"
	"strings"
	"testing"

	"zab/lib/hashfunc"
	"zab/lib/sendstream"
)

// A line of another host's zab-digest is taken as it was printed, or refused.
func TestLine(t *testing.T) {
	r := Result{Header: sendstream.Header{Name: "tank/a@1", GUID: 7, FromGUID: 6, Volume: true}, Objects: 3, Last: 9, Bytes: 10, Stream: 1000}
	r.Digest[0] = 0xab
	b, err := json.Marshal(r.Line())
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	if l, err := ParseLine(good, hashfunc.SHA256); err != nil || l != r.Line() {
		t.Errorf("%s: %+v, %v", good, l, err)
	}
	r.Hash = hashfunc.BLAKE3
	b, _ = json.Marshal(r.Line())
	if l, err := ParseLine(string(b), hashfunc.BLAKE3); err != nil || l.Algorithm != "blake3" {
		t.Errorf("%s: %+v, %v", b, l, err)
	}
	for _, c := range []struct{ old, new string }{
		{`"type":"digest"`, `"type":"object"`},
		{`"version":1`, `"version":2`},
		{`"sha256"`, `"md5"`},
		{`"sha256"`, `"blake3"`},
		{`"guid":"7"`, `"guid":"-7"`},
		{`"from_guid":"6"`, `"from_guid":"x"`},
		{`"stream":1000`, `"stream":-1`},
		{`"digest":"ab`, `"digest":"xy`},
		{`"digest":"ab`, `"digest":"`},
		{`{`, ``},
		{good, ``},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if l, err := ParseLine(text, hashfunc.SHA256); err == nil || text == good {
			t.Errorf("%s: %+v", text, l)
		}
	}
}
