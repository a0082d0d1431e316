//go:build !linux

package zfs

import (
	"context"
	"errors"
	"os"
)

func mountsRedacted() bool { return false }

// mountAlone returns an error: other systems have no mount namespaces.
func mountAlone(context.Context, string) (*os.File, error) {
	return nil, errors.New("snapshots are only mounted for one process on Linux")
}
