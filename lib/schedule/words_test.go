package schedule

import "testing"

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"0":                 "nothing but what must stay",
		"1":                 "the newest",
		"10,1d1w,1w1m,1m1y": "the newest 10, one a day for a week, one a week for a month, one a month for a year",
		"3,2d30d":           "the newest 3, one every 2 days for 30 days",
		"1h1d,15min1h,1s1min": "one an hour for a day, one every 15 minutes for an hour, " +
			"one a second for a minute",
		"1Y02Y": "one a year for 2 years",
	} {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Words(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
