package zfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zab/lib/record"
)

// withStates returns a machine whose kernel reports states of pools, and a function that
// changes them.
func withStates(t *testing.T, states map[string]string) (h *Host, set func(pool, state string)) {
	t.Helper()
	dir := t.TempDir()
	set = func(pool, state string) {
		if err := os.MkdirAll(filepath.Join(dir, pool), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, pool, "state"), []byte(state+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for p, s := range states {
		set(p, s)
	}
	return (&Machine{Kstat: dir}).Host(""), set
}

func TestPoolsOf(t *testing.T) {
	for _, c := range []struct {
		argv string
		want []string
	}{
		{"zfs snapshot tank/a@x bk@y", []string{"bk", "tank"}},
		{"zfs destroy tank/a@x,y", []string{"tank"}},
		{"zfs set zab:from=5 bk/tank", []string{"bk"}},
		{"zfs list -Hp -r", nil},
		{"zpool sync tank", []string{"tank"}},
		{"zfs bookmark tank@a tank#a", []string{"tank"}},
	} {
		if got := PoolsOf(strings.Fields(c.argv)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.argv, got, c.want)
		}
	}
}

// P4: a command that changes a suspended pool is not started, because it would not end;
// one that changes another pool is.
func TestNotStartedWhereSuspended(t *testing.T) {
	h, _ := withStates(t, map[string]string{"tank": "SUSPENDED", "bk": "ONLINE"})
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/zfs", []byte("#!/bin/sh\necho \"$*\" >>"+dir+"/log\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	err := h.Snapshot(context.Background(), []string{"tank/a@x"}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Kind != record.KindPoolIO || e.Message() != "cannot use the pool 'tank': pool I/O is currently suspended" {
		t.Errorf("%v", err)
	}
	if err := h.Snapshot(context.Background(), []string{"bk/a@x"}, nil); err != nil {
		t.Error(err)
	}
	if log, _ := os.ReadFile(dir + "/log"); string(log) != "snapshot bk/a@x\n" {
		t.Errorf("started: %q", log)
	}
}

// P4: a program at work on a pool that becomes suspended is left behind.
func TestLeftWhereSuspended(t *testing.T) {
	h, set := withStates(t, map[string]string{"tank": "ONLINE", "bk": "SUSPENDED"})
	lost := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer h.Watch(ctx, []string{"tank"}, func(err error) { lost <- err })()
	if p := h.findSuspended(ctx, []string{"tank"}); p != "" {
		t.Errorf("'%s' is taken to be suspended", p)
	}
	set("tank", "SUSPENDED")
	select {
	case err := <-lost:
		if KindOf(err) != record.KindPoolIO {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("not seen")
	}
}
