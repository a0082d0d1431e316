// Command zab-select prints a record for every dataset that a property selects.
package main

import (
	"os"

	"zab/lib/selection"
)

func main() { os.Exit(selection.Main(os.Args[1:])) }
