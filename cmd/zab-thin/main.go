// Command zab-thin destroys the snapshots that no schedule keeps.
package main

import (
	"os"

	"zab/lib/thin"
)

func main() { os.Exit(thin.Main(os.Args[1:])) }
