//go:build !linux

package filetree

import (
	"context"
	"os"
)

// Read returns ErrUnsupported.
func Read(context.Context, *os.File, Options) (Result, error) { return Result{}, ErrUnsupported }

// FindNames returns ErrUnsupported.
func FindNames(context.Context, *os.File, []uint64, func(), func(Name) error) error {
	return ErrUnsupported
}
