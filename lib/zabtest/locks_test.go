package zabtest

import (
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// machine is locked for reading by each running script, and for writing by a script that
// affects all pools of the machine.
var machine sync.RWMutex

// shareMachine locks the machine for reading until the script ends.
func shareMachine(env *testscript.Env) {
	machine.RLock()
	alone := new(bool)
	env.Values["alone"] = alone
	env.Defer(func() {
		if *alone {
			machine.Unlock()
		} else {
			machine.RUnlock()
		}
	})
}

// cmdAlone: alone waits until no other script runs, and keeps others from beginning until
// this script has ended.
func cmdAlone(ts *testscript.TestScript, neg bool, args []string) {
	alone := ts.Value("alone").(*bool)
	if *alone {
		return
	}
	machine.RUnlock()
	machine.Lock()
	*alone = true
}

// removal is locked for writing while a pool is destroyed or exported, and for reading by
// a script that counts programs: if a pool has disappeared meanwhile, zab lists all pools
// once more.
var removal sync.RWMutex

// keeping has the scripts that hold removal for reading.
var keeping sync.Map

// keepPools keeps all pools in place until the script has counted its programs.
func keepPools(ts *testscript.TestScript) {
	if _, already := keeping.LoadOrStore(ts, true); already {
		return
	}
	removal.RLock()
	ts.Defer(func() { releasePools(ts) })
}

// releasePools ends keepPools, which need not have been called.
func releasePools(ts *testscript.TestScript) {
	if _, was := keeping.LoadAndDelete(ts); was {
		removal.RUnlock()
	}
}
