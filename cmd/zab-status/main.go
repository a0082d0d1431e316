// Command zab-status judges how current the copies of a backup are.
package main

import (
	"os"

	"zab/lib/status"
)

func main() { os.Exit(status.Main(os.Args[1:])) }
