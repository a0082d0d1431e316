package torture

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"zab/lib/zabtest"
)

var messagesFile = flag.String("messages", "../zfs/errors_test.go", "file with the messages that failing stand-ins for programs print")

// TestTorture runs histories for 20 s. ZAB_TORTURE is another duration, such as 20m,
// ZAB_TORTURE_SEED the seed of the first history, ZAB_TORTURE_HISTORIES the greatest number
// of histories, ZAB_TORTURE_JOBS how many run in parallel, ZAB_TORTURE_SKIP a list of
// steps to leave out, with commas between, ZAB_TORTURE_OUT a directory for logs.
func TestTorture(t *testing.T) {
	zabtest.NeedZFS(t)
	programs, err := zabtest.Programs()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Programs: programs, Messages: readMessages(t), Length: 20 * time.Second, Seed: time.Now().UnixNano() % 1e9, Jobs: 2,
		Histories: 1 << 62, Skip: map[int]bool{}, Logs: os.Getenv("ZAB_TORTURE_OUT")}
	if s := os.Getenv("ZAB_TORTURE"); s != "" {
		if c.Length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	number := func(env string, to func(int64)) {
		if s := os.Getenv(env); s != "" {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", env, err)
			}
			to(n)
		}
	}
	number("ZAB_TORTURE_SEED", func(n int64) { c.Seed = n })
	number("ZAB_TORTURE_JOBS", func(n int64) { c.Jobs = int(n) })
	number("ZAB_TORTURE_HISTORIES", func(n int64) { c.Histories = n })
	for s := range strings.SplitSeq(os.Getenv("ZAB_TORTURE_SKIP"), ",") {
		if n, err := strconv.Atoi(s); err == nil {
			c.Skip[n] = true
		}
	}
	// isForeign knows the prefix.
	if c.Dir, err = os.MkdirTemp(zabtest.PoolDir(), "zabt-"); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(c.Dir)
	Run(t, c)
}

// readMessages reads the messages of zfs from the catalogue in the tests of lib/zfs.
func readMessages(t *testing.T) (messages []string) {
	data, err := os.ReadFile(*messagesFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\{"[^"]*", ("(?:[^"\\]|\\.)*"), record\.Kind`).FindAllStringSubmatch(string(data), -1) {
		if s, err := strconv.Unquote(m[1]); err == nil {
			messages = append(messages, s)
		}
	}
	if len(messages) < 50 {
		t.Fatalf("%d messages in %s", len(messages), *messagesFile)
	}
	return messages
}

// TestMessages checks that the catalogue is found, also where there is no ZFS.
func TestMessages(t *testing.T) { readMessages(t) }
