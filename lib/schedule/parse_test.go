package schedule

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"10,1d1w,1w1m,1m1y", "10,1d1w,1w1m,1m1y"},
		{"0", "0"},
		{"00", "0"},
		{"3", "3"},
		{"0,1d1w", "1d1w"},
		{"1d1w,3", "3,1d1w"},
		{" 10 , 1d1w\t", "10,1d1w"},
		{"01D001W", "1d1w"},
		{"1H1MIN,1Min1h", ""},
		{"1min1h", "1min1h"},
		{"1m1y", "1m1y"},
		{"30d1m", "30d1m"},
		{"1s1s", "1s1s"},
		{"7d1w", "7d1w"},
		{"12m1y", "12m1y"},
		{"1d1w,1d1m", "1d1w,1d1m"},
		{"2147483647", "2147483647"},
		{"1y10000y", "1y10000y"},
	} {
		s, err := Parse(test.text)
		if test.want == "" {
			if err == nil {
				t.Errorf("Parse(%q) = %v, want an error", test.text, s)
			}
			continue
		}
		if err != nil {
			t.Errorf("Parse(%q): %v", test.text, err)
		} else if s.String() != test.want {
			t.Errorf("Parse(%q) = %q, want %q", test.text, s, test.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"1s": 1, "2min": 120, "1h": 3600, "1d": 86400, "1w": 604800, "1m": 2592000, "1y": 31557600, "4y": 126230400,
		"0s": 0, "00d": 0, " 30d ": 2592000, "30D": 2592000, "10000y": 315576000000,
	} {
		if got, err := ParseAge(text); err != nil || got.Seconds() != want {
			t.Errorf("ParseAge(%q) = %d, %v, want %d", text, got.Seconds(), err, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	const units = "expected s, min, h, d, w, m (30 days) or y (365.25 days)"
	for _, test := range []struct{ text, want string }{
		{"", "at character 1: empty item: expected a number of newest snapshots, or a rule such as 1d1w"},
		{"  ", "at character 3: empty item"},
		{"10,", "at character 4: empty item"},
		{",10", "at character 1: empty item"},
		{"10, ,1d1w", "at character 5: empty item"},
		{"10,5", "at character 4: a second number of newest snapshots: expected one at most"},
		{"0,1d1w, 0", "at character 9: a second number of newest snapshots"},
		{"-1", "at character 1: a negative number: expected a whole number, 0 or more"},
		{"10,1d-1w", "at character 6: a negative number"},
		{"+1", `at character 1: "+1": expected a whole number`},
		{"ten", `at character 1: "ten": expected a whole number`},
		{"1.5", `at character 2: ".5" in place of the unit of the interval: ` + units},
		{"1x1w", `at character 2: unknown unit "x": ` + units},
		{"1d1M1", `at character 5: "1" after the rule 1d1m: expected ',' or the end`},
		{"1d1w1y", `at character 5: "1y" after the rule 1d1w`},
		{"1d1w;", `at character 5: ";" after the rule 1d1w`},
		{"1d 1w", `at character 3: " 1w": expected a whole number`},
		{"1d1", `at character 4: the end in place of the unit of the ttl: ` + units},
		{"1d", "at character 3: no ttl after the interval 1d: expected <number><unit> such as 1w"},
		{"1dw", `at character 2: unknown unit "dw"`},
		{"1w1d", "at character 3: the interval 1w is longer than the ttl 1d: expected <interval><ttl>"},
		{"31d1m", "at character 4: the interval 31d is longer"},
		{"0d1w", "at character 1: interval 0d: expected more than 0"},
		{"10,1d0w", "at character 6: ttl 0w: expected more than 0"},
		{"2147483648", "at character 1: 2147483648 is too many: expected at most 2147483647"},
		{"99999999999999999999", "at character 1: 99999999999999999999 is too many"},
		{"1d10001y", "at character 3: 10001y is too long: expected at most 10000 years"},
		{"1d99999999999999999999s", "at character 3: 99999999999999999999s is too long"},
		{"5,é", `at character 3: "é": expected a whole number`},
		{"é,1w1x", "at character 1:"},
		{"1d1w\n", `at character 5: "\n" after the rule 1d1w`},
	} {
		s, err := Parse(test.text)
		if err == nil {
			t.Errorf("Parse(%q) = %q, want an error", test.text, s)
		} else if !strings.HasPrefix(err.Error(), "cannot parse schedule ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Parse(%q): %v\nwant %s", test.text, err, test.want)
		}
	}
	for _, test := range []struct{ text, want string }{
		{"", `cannot parse age "": at character 1: nothing there: expected <number><unit> such as 30d`},
		{"30", `cannot parse age "30": at character 3: the end in place of the unit of the age: ` + units},
		{"d", `cannot parse age "d": at character 1: "d": expected a whole number`},
		{"-1d", `cannot parse age "-1d": at character 1: a negative number: expected a whole number, 0 or more`},
		{"30d1", `cannot parse age "30d1": at character 4: "1" after the age 30d: expected the end`},
		{"10001y", `cannot parse age "10001y": at character 1: 10001y is too long: expected at most 10000 years`},
	} {
		if got, err := ParseAge(test.text); err == nil || err.Error() != test.want {
			t.Errorf("ParseAge(%q) = %s, %v\nwant %s", test.text, got, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"10,1d1w,1w1m,1m1y", "0", "", ",", "1d1w,", "-1", "1d1w1", "1min1h", " 3 ,\t2H2D", "1d99999999999y",
		"9223372036854775808s1y", "1d1\x00", "5,é", "1d1w,5,5", "1D1W", "ſ1d1w", "1\u0661d",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			if !strings.Contains(err.Error(), ": at character ") || !strings.Contains(err.Error(), "expected") {
				t.Fatalf("Parse(%q): %v: gives no place or nothing expected", text, err)
			}
		} else {
			again, err := Parse(s.String())
			if err != nil || again.String() != s.String() {
				t.Fatalf("Parse(%q) = %q, which gives %q, %v", text, s, again, err)
			}
			for _, r := range s.rules {
				if r.interval.seconds <= 0 || r.interval.seconds > r.ttl.seconds || r.ttl.seconds > maxAge {
					t.Fatalf("Parse(%q) accepts %v", text, r)
				}
			}
			snaps := []Snapshot{{Name: "a", Time: 1}, {Name: "b", Time: 2, CreateTXG: 1}}
			for _, v := range s.Decide(snaps, 2) {
				if len(v.Why()) == 0 {
					t.Fatalf("Parse(%q): a verdict without a reason", text)
				}
			}
		}
		if a, err := ParseAge(text); err == nil {
			if a.Seconds() < 0 || a.Seconds() > maxAge {
				t.Fatalf("ParseAge(%q) = %s", text, a)
			}
			if again, err := ParseAge(a.String()); err != nil || again != a {
				t.Fatalf("ParseAge(%q) = %s, which gives %s, %v", text, a, again, err)
			}
		}
	})
}
