package streamsum

import (
	"encoding/json"
	"strings"
	"testing"

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
	if l, err := ParseLine(good); err != nil || l != r.Line() {
		t.Errorf("%s: %+v, %v", good, l, err)
	}
	for _, c := range []struct{ old, new string }{
		{`"type":"digest"`, `"type":"object"`},
		{`"version":1`, `"version":2`},
		{`"sha256"`, `"md5"`},
		{`"guid":"7"`, `"guid":"-7"`},
		{`"from_guid":"6"`, `"from_guid":"x"`},
		{`"stream":1000`, `"stream":-1`},
		{`"digest":"ab`, `"digest":"xy`},
		{`"digest":"ab`, `"digest":"`},
		{`{`, ``},
		{good, ``},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if l, err := ParseLine(text); err == nil || text == good {
			t.Errorf("%s: %+v", text, l)
		}
	}
}
