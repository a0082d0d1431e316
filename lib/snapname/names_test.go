package snapname

import (
	"strings"
	"testing"
)

func TestBackupName(t *testing.T) {
	for _, name := range []string{"offsite1", "a", "0", "a-b_c.d:e", strings.Repeat("a", 255)} {
		if err := BackupName(name); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{
		"":                       `cannot use backup name "": it is empty`,
		"Off":                    `cannot use backup name "Off": at character 1: 'O' is not lower case, and ZFS user properties are`,
		"off site":               `at character 4: ' ' is not allowed: expected a-z, 0-9, ':', '.', '_' or '-'`,
		"off/site":               `at character 4: '/'`,
		"a@b":                    `at character 2: '@'`,
		"a+b":                    `at character 2: '+'`,
		"100%":                   `at character 4: '%'`,
		"é":                      `at character 1: 'é'`,
		"a\n":                    `at character 2: '\n'`,
		"a\x00":                  `at character 2: '\x00'`,
		"{}":                     `at character 1: '{'`,
		"-n":                     `at character 1: it cannot begin with '-'`,
		strings.Repeat("a", 256): "it has 256 bytes: expected at most 255",
	} {
		if err := BackupName(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("BackupName(%q): %v\nwant %s", name, err, want)
		}
	}
}

func TestProperty(t *testing.T) {
	for _, test := range []struct{ format, want string }{
		{"autobackup:{}", "autobackup:offsite1"},
		{"{}:{}", "offsite1:offsite1"},
		{"backup:all", "backup:all"},
		{"", `cannot use property format "": property "": it is empty`},
		{"autobackup-{}", `cannot use property format "autobackup-{}": property "autobackup-offsite1": there is no ':'`},
		{"Autobackup:{}", "at character 1: 'A' is not lower case"},
		{"auto backup:{}", "at character 5: ' ' is not allowed"},
		{"autobackup:{0}", "at character 12: '{' is not allowed"},
		{"-a:{}", "at character 1: it cannot begin with '-'"},
		{"a:" + strings.Repeat("b", 254), "it has 256 bytes: expected at most 255"},
	} {
		got, err := Property(test.format, "offsite1")
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("Property(%q) = %s\nwant %s", test.format, got, test.want)
		}
	}
}

func TestHoldTag(t *testing.T) {
	for _, test := range []struct{ format, want string }{
		{"zfs_autobackup:{}", "zfs_autobackup:offsite1"},
		{"{}", "offsite1"},
		{"Keep it, é {}", "Keep it, é offsite1"},
		{"", `cannot use hold format "": tag "": it is empty`},
		{".{}", "at character 1: a tag cannot begin with '.'"},
		{"-{}", "at character 1: a tag cannot begin with '-'"},
		{"é\t{}", `cannot use hold format "é\t{}": tag "é\toffsite1": at character 2: "\t" cannot be printed`},
		{"a\x00", `at character 2: "\x00" cannot be printed`},
		{"a\xff", `at character 2: "\xff" cannot be printed`},
		{strings.Repeat("{}", 32), "it has 256 bytes: expected at most 255"},
	} {
		got, err := HoldTag(test.format, "offsite1")
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("HoldTag(%q) = %s\nwant %s", test.format, got, test.want)
		}
	}
}

func FuzzBackupName(f *testing.F) {
	for _, name := range []string{"offsite1", "-a", "A", "é", "a:b", "", "{}", "%Y"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if BackupName(name) != nil {
			return
		}
		// A valid name fits into the default formats, as long as the result is not too
		// long.
		if len(name) > 200 {
			return
		}
		if _, err := Property("autobackup:{}", name); err != nil {
			t.Error(err)
		}
		if _, err := HoldTag("zfs_autobackup:{}", name); err != nil {
			t.Error(err)
		}
		if _, err := New("{}-%Y%m%d%H%M%S", name, testZone(t)); err != nil {
			t.Error(err)
		}
	})
}
