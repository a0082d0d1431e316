// Command zab backs up ZFS: it chains select, snap, plan, thin and xfer.
package main

import (
	"os"

	"zab/lib/zab"
)

func main() { os.Exit(zab.Main(os.Args[1:])) }
