package zfstest

// FarSSH is a script for a program named ssh: each host is this machine, and the user shares
// connections, so that none is set up.
const FarSSH = `#!/bin/sh
case " $* " in *" -G "*) echo "controlpath /nonexistent/%r@%h"; exit;; esac
for line; do :; done
eval "$line"
`
