//go:build !linux

package proofs

import "errors"

func setAttribute(string, string, []byte) error {
	return errors.New("extended attributes are only set on Linux")
}
