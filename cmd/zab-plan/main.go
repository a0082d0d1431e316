// Command zab-plan works out what has to be sent to a target, and how.
package main

import (
	"os"

	"zab/lib/plan"
)

func main() { os.Exit(plan.Main(os.Args[1:])) }
