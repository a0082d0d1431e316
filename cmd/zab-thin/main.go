// Command zab-thin destroys the snapshots that a schedule does not want.
package main

import (
	"os"

	"zab/lib/thin"
)

func main() { os.Exit(thin.Main(os.Args[1:])) }
