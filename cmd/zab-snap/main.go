// Command zab-snap takes one atomic snapshot of all datasets it reads.
package main

import (
	"os"

	"zab/lib/snap"
)

func main() { os.Exit(snap.Main(os.Args[1:])) }
