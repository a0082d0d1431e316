//go:build !linux

package main_test

import "errors"

func account(string) *accounting { return nil }

func accountTo(string) error { return errors.New("not here") }
