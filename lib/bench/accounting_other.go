//go:build !linux

package bench

import "errors"

func account(string) *accounting { return nil }

func accountTo(string) error { return errors.ErrUnsupported }
