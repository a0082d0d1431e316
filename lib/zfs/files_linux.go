package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// mountsRedacted reports whether the kernel mounts what was received redacted.
func mountsRedacted() bool {
	b, _ := os.ReadFile("/sys/module/zfs/parameters/zfs_allow_redacted_dataset_mount")
	return strings.TrimSpace(string(b)) == "1"
}

// mountAlone mounts a snapshot for this process, and returns its top directory.
func mountAlone(ctx context.Context, snapshot string) (*os.File, error) {
	type answer struct {
		top *os.File
		err error
	}
	done := make(chan answer, 1)
	go func() {
		// Not unlocked: the thread ends with this goroutine, and its namespace with it.
		runtime.LockOSThread()
		top, err := mountInNamespace(snapshot)
		done <- answer{top, err}
	}()
	select {
	case a := <-done:
		return a.top, a.err
	case <-ctx.Done(): // the pool may not answer
		return nil, context.Cause(ctx)
	}
}

// mountInNamespace gives the thread a mount namespace of its own and mounts the snapshot over
// /dev of that, which every machine with ZFS has. From then on the mount belongs to the open
// directory alone: it is at no path, and the kernel ends it when the directory is closed,
// however this process ends.
func mountInNamespace(snapshot string) (*os.File, error) {
	const at = "/dev"
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, errRoot(snapshot, err)
	}
	// Nothing of this reaches the other namespaces; what others unmount goes here, too, and
	// does not become busy.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, errRoot(snapshot, err)
	}
	err := unix.Mount(snapshot, at, "zfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, "")
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, errRoot(snapshot, err)
	case err != nil:
		return nil, fmt.Errorf("cannot mount '%s' for this process alone: %w", snapshot, err)
	}
	top, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
		top.Close()
		return nil, fmt.Errorf("cannot detach the mount of '%s': %w", snapshot, err)
	}
	return top, nil
}
