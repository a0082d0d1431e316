// Zab-xfer executes the steps of the records it reads: it sends and receives,
// and what has to be done before and after.
package main

import (
	"os"

	"zab/lib/xfer"
)

func main() { os.Exit(xfer.Main(os.Args[1:])) }
