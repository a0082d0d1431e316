// Command zab-list prints the state of a tree of datasets as records.
package main

import (
	"os"

	"zab/lib/list"
)

func main() { os.Exit(list.Main(os.Args[1:])) }
