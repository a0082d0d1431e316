//go:build !linux

package filetree

import (
	"context"
	"os"
)

// Read returns ErrUnsupported.
func Read(context.Context, *os.File, Options) (Result, error) { return Result{}, ErrUnsupported }
