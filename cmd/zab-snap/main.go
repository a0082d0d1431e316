// Command zab-snap takes one atomic snapshot per pool of the datasets it reads that have
// changed.
package main

import (
	"os"

	"zab/lib/snap"
)

func main() { os.Exit(snap.Main(os.Args[1:])) }
