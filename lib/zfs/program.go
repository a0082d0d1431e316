package zfs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"zab/lib/dataset"
)

// Channel programs do many things in one transaction group. They need root.

// maxResult is the longest result of a channel program as JSON, in bytes: enough for a
// line with a name for each of its operations.
const maxResult = 16 << 20

// program runs a channel program on a pool. If result is not nil, the return value is
// requested as JSON and decoded into result. A hundred million instructions and 100 MiB
// are the most that zfs allows.
func (h *Host) program(ctx context.Context, pool, lua string, result any) error {
	argv := []string{"zfs", "program", "-t", "100000000", "-m", "104857600", pool, "-"}
	c := call{argv: argv, stdin: strings.NewReader(lua)}
	var out bounded
	if result != nil {
		argv = append([]string{"zfs", "program", "-j"}, argv[2:]...)
		c.argv, c.out = argv, &out
	}
	if err := h.do(ctx, c); err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		return h.badAnswer(argv, "it is not JSON of the expected form: %s", err)
	}
	return nil
}

// luaPoint returns the full name of a snapshot or bookmark as a string literal of Lua. A
// name that was parsed has neither quotes nor backslashes.
func luaPoint(full string) (string, error) {
	p, err := dataset.ParsePoint(full)
	if err != nil {
		return "", badArgument(err)
	}
	return `"` + p.String() + `"`, nil
}

// bounded collects the result of a program, which has no newline at its end, up to
// maxResult.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxResult {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxResult)
	}
	return b.Buffer.Write(p)
}
