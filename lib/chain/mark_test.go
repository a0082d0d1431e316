package chain

import (
	"strings"
	"testing"

	"zab/lib/record"
)

func TestMarks(t *testing.T) {
	a, b := TargetKey("1"), TargetKey("2")
	if !isKey(a) || a == b {
		t.Fatal(a, b)
	}
	var list []record.Snapshot
	for _, n := range []string{"plain", "b-1:" + a, "b-2:" + b + ":" + a, "b:3:x:" + b, "b-4:1234567", ":" + a} {
		list = append(list, record.Snapshot{Name: n, GUID: n})
	}
	var got []string
	for _, m := range Marks(list) {
		got = append(got, m.Snapshot+" "+strings.Join(m.Targets, ","))
		if m.Has(a) && !strings.Contains(m.Name, a) || m.Without(b) != "" && strings.Contains(m.Without(b), b) || !strings.Contains(m.With(a, ""), a) {
			t.Errorf("%+v", m)
		}
	}
	both := a + "," + b
	if a > b {
		both = b + "," + a
	}
	want := "b-1 " + a + "; b-2 " + both + "; b:3:x " + b
	if strings.Join(got, "; ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	if m := (Mark{Snapshot: "x", Targets: []string{a}}); m.Without(a) != "" || m.With(b, "") != MarkName("x", []string{a, b}) || MarkName("x", []string{b, a}) != MarkName("x", []string{a, b}) {
		t.Error("names")
	}
}
