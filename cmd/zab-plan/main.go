// Command zab-plan determines which snapshots have to be sent to a target, and how.
package main

import (
	"os"

	"zab/lib/plan"
)

func main() { os.Exit(plan.Main(os.Args[1:])) }
