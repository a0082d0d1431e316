package snapname

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func testZone(t testing.TB) *time.Location { return zone(t, "Europe/Amsterdam") }

func mustNew(t testing.TB, format, backup string, loc *time.Location) Format {
	t.Helper()
	f, err := New(format, backup, loc)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const usual = "{}-%Y%m%d%H%M%S"

func TestNameAndTime(t *testing.T) {
	at := time.Date(2026, 11, 20, 14, 5, 9, 123456789, time.UTC)
	midnight := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).Unix()
	for _, test := range []struct {
		format, want string
		unix         int64
	}{
		{usual, "offsite1-20261120140509", at.Unix()},
		{"%Y-%m-%d_%H.%M.%S", "2026-11-20_14.05.09", at.Unix()},
		{"{}:%F %T {}", "offsite1:2026-11-20 14:05:09 offsite1", at.Unix()},
		{"%F %R", "2026-11-20 14:05", at.Unix() - 9},
		{"{}-%Y%m%d%H", "offsite1-2026112014", midnight + 14*3600},
		{"{}-%Y%m%d", "offsite1-20261120", midnight},
		{"{}-%Y%m", "offsite1-202611", time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Unix()},
		{"{}-%Y", "offsite1-2026", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()},
		{"%y%m%d%H%M%S", "261120140509", at.Unix()},
		{"%Y%j%H%M%S", "2026324140509", at.Unix()},
		{"%Y%m%d%H%M%S.%f", "20261120140509.123456", at.Unix()},
		{"{}-%s", "offsite1-1795183509", at.Unix()},
		{"%s.%f", "1795183509.123456", at.Unix()},
		{"%s-%Y", "1795183509-2026", at.Unix()},
		{"%d %b %Y %I.%M.%S%p", "20 Nov 2026 02.05.09PM", at.Unix()},
		{"%A-%d-%B-%Y-%H%M%S", "Friday-20-November-2026-140509", at.Unix()},
		{"%a %F %T", "Fri 2026-11-20 14:05:09", at.Unix()},
		{"%Y%m%d%H%M%S-%y", "20261120140509-26", at.Unix()},
	} {
		f := mustNew(t, test.format, "offsite1", time.UTC)
		if got := f.Name(at); got != test.want {
			t.Errorf("%s: name %q, want %q", test.format, got, test.want)
		}
		if got, ok := f.Time(test.want); !ok || got != test.unix {
			t.Errorf("%s: %q is %d, %v, want %d", test.format, test.want, got, ok, test.unix)
		}
	}
}

func TestNotOurs(t *testing.T) {
	for format, names := range map[string][]string{
		usual: {
			"", "offsite1-", "offsite1", "offsite1-20261120140509 ", " offsite1-20261120140509", "offsite1-20261120140509x",
			"offsite1-202611201405091", "offsite1-2026112014050", "Offsite1-20261120140509", "offsite2-20261120140509",
			"offsite1-20261320140509", "offsite1-20260020140509", "offsite1-20261100140509", "offsite1-20261131140509",
			"offsite1-20260229140509", "offsite1-21000229140509", "offsite1-20261120240000", "offsite1-20261120146000",
			"offsite1-20261120140560", "offsite1-00001120140509", "offsite1-2026-120140509", "offsite1-+0261120140509",
			"offsite1-2026112014050٠", "offsite1-2026 120140509", "tank@offsite1-20261120140509", "offsite1-20261120140509\n",
		},
		"%Y%j":             {"2026000", "2026366", "2024367", "0000001"},
		"%Y%m%d%I%p":       {"2026112000AM", "2026112013PM", "2026112001XM", "2026112001am"},
		"{}-%s":            {"offsite1-", "offsite1--5", "offsite1-007", "offsite1-00", "offsite1-253402300800", "offsite1-99999999999999999999999"},
		"%s-%Y":            {"1795183509-2025", "1795183509-02026"},
		"%a-%F":            {"Thu-2026-11-20", "fri-2026-11-20", "XXX-2026-11-20"},
		"%b%d%Y":           {"nov202026", "Nox202026", "Feb302026"},
		"%F-%y":            {"2026-11-20-25"},
		"%F-%d":            {"2026-11-20-21"},
		"%Y%m%d%j":         {"20261120323"},
		"%F %H %I%p":       {"2026-11-20 14 02AM", "2026-11-20 14 03PM", "2026-11-20 14 14PM"},
		"%Y%m%d%H%M%S.%f":  {"20261120140509.12345", "20261120140509.1234567", "20261120140509.12345x"},
		"%A %d %B %Y":      {"Friday 20 Nov 2026", "Friday 20 november 2026"},
		"%Y%m%d%H%M%S-off": {"20261120140509-of", "20261120140509"},
	} {
		f := mustNew(t, format, "offsite1", time.UTC)
		for _, name := range names {
			if got, ok := f.Time(name); ok {
				t.Errorf("%s: %q is ours: %v", format, name, time.Unix(got, 0).UTC())
			}
		}
	}
	for _, name := range []string{"", "20261120140509"} {
		if _, ok := (Format{}).Time(name); ok || (Format{}).Name(time.Now()) != "" {
			t.Errorf("the zero format takes or gives %q", name)
		}
	}
}

func TestYears(t *testing.T) {
	for _, test := range []struct {
		format, name string
		year         int
	}{
		{"%Y-%m-%d", "0001-01-01", 1},
		{"%Y-%m-%d", "0999-01-01", 999},
		{"%Y-%m-%d", "1969-01-01", 1969},
		{"%Y-%m-%d", "9999-01-01", 9999},
		{"%y-%m-%d", "69-01-01", 1969},
		{"%y-%m-%d", "99-01-01", 1999},
		{"%y-%m-%d", "00-01-01", 2000},
		{"%y-%m-%d", "68-01-01", 2068},
	} {
		f := mustNew(t, test.format, "", time.UTC)
		at := time.Date(test.year, 1, 1, 0, 0, 0, 0, time.UTC)
		if got, ok := f.Time(test.name); !ok || got != at.Unix() {
			t.Errorf("%s: %s is %v, %v", test.format, test.name, time.Unix(got, 0).UTC(), ok)
		}
		if got := f.Name(at); got != test.name {
			t.Errorf("%s: %v is %s", test.format, at, got)
		}
	}
	for _, year := range []int{-1, 0, 10000} {
		name := mustNew(t, "%Y-%m-%d", "", time.UTC).Name(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		if _, ok := mustNew(t, "%Y-%m-%d", "", time.UTC).Time(name); ok {
			t.Errorf("%s is ours", name)
		}
	}
	leap := mustNew(t, usual, "a", time.UTC)
	for name, want := range map[string]bool{"a-20240229000000": true, "a-20000229000000": true, "a-19000229000000": false, "a-20230229000000": false} {
		if _, ok := leap.Time(name); ok != want {
			t.Errorf("%s: ok is %v", name, ok)
		}
	}
}

func TestClockChanges(t *testing.T) {
	for _, test := range []struct {
		zone, name, want string
	}{
		{"Europe/Amsterdam", "20261120000000", "2026-11-19T23:00:00Z"},
		{"Europe/Amsterdam", "20260701000000", "2026-06-30T22:00:00Z"},
		// 02:00 to 03:00 on 2026-03-29 are skipped.
		{"Europe/Amsterdam", "20260329015959", "2026-03-29T00:59:59Z"},
		{"Europe/Amsterdam", "20260329020000", "2026-03-29T01:00:00Z"},
		{"Europe/Amsterdam", "20260329023000", "2026-03-29T01:30:00Z"},
		{"Europe/Amsterdam", "20260329030000", "2026-03-29T01:00:00Z"},
		// 02:00 to 03:00 on 2026-10-25 come twice.
		{"Europe/Amsterdam", "20261025015959", "2026-10-24T23:59:59Z"},
		{"Europe/Amsterdam", "20261025020000", "2026-10-25T00:00:00Z"},
		{"Europe/Amsterdam", "20261025025959", "2026-10-25T00:59:59Z"},
		{"Europe/Amsterdam", "20261025030000", "2026-10-25T02:00:00Z"},
		{"America/New_York", "20261101013000", "2026-11-01T05:30:00Z"},
		{"America/New_York", "20260308023000", "2026-03-08T07:30:00Z"},
		{"Australia/Lord_Howe", "20260405014500", "2026-04-04T14:45:00Z"},
		// The 30th of December 2011 was skipped.
		{"Pacific/Apia", "20111229235959", "2011-12-30T09:59:59Z"},
		{"Pacific/Apia", "20111230120000", "2011-12-30T22:00:00Z"},
		{"Pacific/Apia", "20111231050000", "2011-12-30T15:00:00Z"},
		{"Asia/Kathmandu", "20261120000000", "2026-11-19T18:15:00Z"},
		{"UTC", "20260329023000", "2026-03-29T02:30:00Z"},
	} {
		f := mustNew(t, "%Y%m%d%H%M%S", "", zone(t, test.zone))
		got, ok := f.Time(test.name)
		if text := time.Unix(got, 0).UTC().Format(time.RFC3339); !ok || text != test.want {
			t.Errorf("%s %s is %s, %v, want %s", test.zone, test.name, text, ok, test.want)
		}
	}
}

// For every half hour of two years, in zones of all kinds: a name is read as the first
// time that has it.
func TestEveryHalfHour(t *testing.T) {
	for _, name := range []string{"Europe/Amsterdam", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tehran", "Pacific/Chatham"} {
		loc := zone(t, name)
		f := mustNew(t, usual, "a", loc)
		first := map[string]int64{}
		for at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2027; at = at.Add(30 * time.Minute) {
			snap := f.Name(at)
			if want := "a-" + at.In(loc).Format("20060102150405"); snap != want {
				t.Fatalf("%s: %v is named %s, want %s", name, at, snap, want)
			}
			if _, ok := first[snap]; !ok {
				first[snap] = at.Unix()
			}
			if got, ok := f.Time(snap); !ok || got != first[snap] {
				t.Fatalf("%s: %s is %v, %v, want %v", name, snap, time.Unix(got, 0).UTC(), ok, time.Unix(first[snap], 0).UTC())
			}
		}
	}
}

func TestNewErrors(t *testing.T) {
	for _, test := range []struct{ format, backup, want string }{
		{"", "a", `cannot use snapshot format "": there is no time in it, so snapshots could not be told apart or thinned: expected for example {}-%Y%m%d%H%M%S`},
		{"{}", "a", "there is no time in it"},
		{"{}-%m%d", "a", "there is no year in it (%Y)"},
		{"{}-%H%M%S", "a", "there is no year in it (%Y)"},
		{"{}-%Y%d", "a", "the day is in it without a month (%m)"},
		{"{}-%Y%M%d%H%M%S", "a", "the day is in it without a month (%m)"},
		{"{}-%Y%m%H", "a", "the hour is in it without a day (%d)"},
		{"{}-%Y%m%d%M", "a", "the minute is in it without an hour (%H)"},
		{"{}-%Y%m%d%H%S", "a", "the second is in it without a minute (%M)"},
		{"{}-%Y%m%d%H%M%f", "a", "the microsecond is in it without a second (%S)"},
		{"{}-%Y%m%d%I", "a", "the hour of 12 (%I) is in it without %p"},
		{"{}-%Y%m%d%p", "a", "%p is in it without an hour (%I)"},
		{"{}-%Y-%a", "a", "the weekday is in it without a day (%d)"},
		{"{}@%Y", "a", `at character 3: ZFS does not allow "@" in snapshot names`},
		{"é{}%Y", "a", `at character 1: ZFS does not allow "é" in snapshot names`},
		{"{}/%Y", "a", `at character 3: ZFS does not allow "/"`},
		{"{}#%Y", "a", `at character 3: ZFS does not allow "#"`},
		{"{0}-%Y", "a", `at character 1: ZFS does not allow "{"`},
		{"{}\xff%Y", "a", `at character 3: ZFS does not allow "\xff"`},
		{"{}-%Y%%", "a", "at character 6: ZFS does not allow the % that %% stands for"},
		{"{}-%Y%z", "a", "at character 6: ZFS does not allow the + that %z begins with"},
		{"{}-%Y%Z", "a", `at character 6: unknown directive "%Z": expected one of %Y %y %m`},
		{"{}-%D", "a", `at character 4: unknown directive "%D"`},
		{"{}-%-d", "a", `at character 4: unknown directive "%-"`},
		{"{}-%é", "a", `at character 4: unknown directive "%é"`},
		{"%{}", "a", `at character 1: unknown directive "%{"`},
		{"{}-%Y%", "a", "at character 6: % at the end"},
		{"{}-%Y", "a%m", `at character 1: backup name "a%m" has '%', which ZFS does not allow`},
		{"x{}-%Y", "a/b", `at character 2: backup name "a/b" has '/'`},
		{"{}-%s1", "a", "%s has no fixed length"},
		{"{}-%s%Y", "a", "%s has no fixed length"},
		{"%s{}", "1a", "%s has no fixed length"},
		{"{}-%Y", strings.Repeat("a", 251), "names can have 256 bytes: expected at most 255"},
		{"{}-%A %d %B %Y", strings.Repeat("a", 230), "names can have 258 bytes: expected at most 255"},
	} {
		f, err := New(test.format, test.backup, time.UTC)
		if err == nil {
			t.Errorf("New(%q, %q) gives names such as %q, want an error", test.format, test.backup, f.Name(time.Now()))
		} else if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "cannot use snapshot format ") {
			t.Errorf("New(%q, %q): %v\nwant %s", test.format, test.backup, err, test.want)
		}
	}
	if _, err := New(usual, "a", nil); err == nil {
		t.Error("New takes no time zone")
	}
	if _, err := New("{}-%Y", strings.Repeat("a", 250), time.UTC); err != nil {
		t.Error(err)
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, format := range []string{usual, "%s", "%y%j%I%p", "{}%F %T.%f", "%A-%B-%d-%Y", "{}", "%s x%s", "%Y%Y", "%"} {
		f.Add(format, "offsite1", int64(1792891800), int64(5))
	}
	f.Add(usual, "100%", int64(-1), int64(999999999))
	f.Fuzz(func(t *testing.T, text, backup string, unix, nano int64) {
		loc := testZone(t)
		format, err := New(text, backup, loc)
		if err != nil {
			return
		}
		low, high := time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC).Unix(), int64(maxUnix-86400)
		if format.has.has("y") {
			low, high = time.Date(1969, 1, 2, 0, 0, 0, 0, time.UTC).Unix(), time.Date(2068, 12, 31, 0, 0, 0, 0, time.UTC).Unix()
		}
		if format.has.has("s") {
			low = max(low, 0)
		}
		if unix < low || unix > high {
			return
		}
		at := time.Unix(unix, nano&0x1fffffff)
		name := format.Name(at)
		got, ok := format.Time(name)
		if !ok {
			t.Fatalf("%q gives %q, which is not ours", text, name)
		}
		if again := format.Name(time.Unix(got, int64(at.Nanosecond()))); again != name {
			t.Fatalf("%q: %q is %d, which is named %q", text, name, got, again)
		}
		if len(name) == 0 || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !isLegal(r) }) {
			t.Fatalf("%q gives %q", text, name)
		}
		if format.has.has("s") && got != unix {
			t.Fatalf("%q: %q is %d, want %d", text, name, got, unix)
		}
	})
}

// FuzzTime reads foreign names. In UTC a name taken for ours is made again from its time;
// in Amsterdam, where hours are skipped, the same names are ours, with times up to two
// hours earlier.
func FuzzTime(f *testing.F) {
	for _, name := range []string{
		"a-20261120140509", "a-20260329023000", "a-20261025023000", "", "a-", "a-2026112014050", "a-99991231235959",
		"a-00010101000000", "zrepl_20261120_140509_000", "autosnap_2026-11-20_14:05:09_daily",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		utc := mustNew(t, usual, "a", time.UTC)
		got, ok := utc.Time(name)
		if ok && utc.Name(time.Unix(got, 0)) != name {
			t.Fatalf("%q is taken for ours", name)
		}
		if !ok && len(name) == 16 {
			if at, err := time.Parse("a-20060102150405", name); err == nil && at.Year() > 0 {
				t.Fatalf("%q is %v, and not taken", name, at)
			}
		}
		local := mustNew(t, usual, "a", testZone(t))
		unix, okLocal := local.Time(name)
		if ok != okLocal {
			t.Fatalf("%q: ok is %v in UTC, %v in Amsterdam", name, ok, okLocal)
		}
		if d := got - unix; ok && (d < 0 || d > 7200) {
			t.Fatalf("%q is %d in UTC, %d in Amsterdam", name, got, unix)
		}
	})
}

func BenchmarkTime(b *testing.B) {
	for _, bench := range []struct {
		name, format, snap string
		loc                *time.Location
	}{
		{"utc", usual, "offsite1-20261120140509", time.UTC},
		{"amsterdam", usual, "offsite1-20261120140509", testZone(b)},
		{"foreign", usual, "zrepl_20261120_140509_000", time.UTC},
		{"words", "%A-%d-%B-%Y-%H%M%S", "Friday-20-November-2026-140509", time.UTC},
	} {
		b.Run(bench.name, func(b *testing.B) {
			f := mustNew(b, bench.format, "offsite1", bench.loc)
			b.ReportAllocs()
			for b.Loop() {
				f.Time(bench.snap)
			}
		})
	}
}

func BenchmarkName(b *testing.B) {
	f := mustNew(b, usual, "offsite1", testZone(b))
	at := time.Unix(1795183509, 0)
	b.ReportAllocs()
	for b.Loop() {
		f.Name(at)
	}
}
