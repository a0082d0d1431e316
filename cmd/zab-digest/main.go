// Command zab-digest prints a digest of what a stream of zfs send says.
package main

import (
	"os"

	"zab/lib/digest"
)

func main() { os.Exit(digest.Main(os.Args[1:])) }
