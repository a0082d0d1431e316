// Package hostile tries to make zab act on a lie. It runs the real programs with
// stand-ins for zfs, zpool and ssh, which answer as OpenZFS would from a model of two
// hosts. One of the two is hostile: some of its answers are falsified, as drawn from a
// seed. An observer then judges everything that was done to the other, honest host.
//
// Besides zab with all its stages, workflows run zab-verify, zab-status, and a backup with
// --within between two of everything. proofs.go, current.go and limited.go judge these.
//
// Goals: the stand-ins know every form of command that zab uses and report any other; the
// same seed gives the same lies; without lies every workflow ends as it should, so a run
// fails because of a lie and not because of the model; runs are so short that an hour has tens
// of thousands of them; neither pools nor root are needed.
//
// Non-goals: this is no implementation of ZFS. A stream is JSON in the records of a real
// one, with an object for each snapshot up to the one that it brings; most properties are
// stored without having an effect, and programs that zab does not start have no stand-in.
// Tests that need a real pool are scripts in testdata.
//
// A run is repeated by its number:
//
//	ZAB_HOSTILE=1 ZAB_HOSTILE_SEED=N go test -run TestHostile -v ./lib/hostile
//
// TestObserverSees shows that the observer notices forbidden commands. It can also be
// tried on the product, by taking a check away: if lib/xfer joins the properties of a
// mark with NULs again, for example, a few hundred runs find zfs set mountpoint=/etc.
package hostile
