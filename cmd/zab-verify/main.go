// Command zab-verify compares copies with their sources.
package main

import (
	"os"

	"zab/lib/verify"
)

func main() { os.Exit(verify.Main(os.Args[1:])) }
