// Command zab-xfer executes the steps of the records it reads: sends and receives, and
// the steps before and after them.
package main

import (
	"os"

	"zab/lib/xfer"
)

func main() { os.Exit(xfer.Main(os.Args[1:])) }
