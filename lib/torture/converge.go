package torture

import (
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// converge checks P4: without faults, and with the remedies that zab itself names, one run
// for each target brings all copies up to date and leaves nothing behind; with a single
// target, the next run has nothing to do.
func (h *history) converge() {
	defer h.tally.timed("(of it converging)")()
	h.say("# no more faults")
	// zab keeps snapshots whose names say a time in the future.
	if h.now.Before(h.latest) {
		h.now = h.latest
		h.say("# the clock goes on to %s", h.now.Format(time.RFC3339))
	}
	run := func(t string, args ...string) *attempt {
		h.advanceClock()
		return &attempt{target: t, keepTarget: 1, rollback: true, args: append([]string{"--now", h.now.Format(time.RFC3339), "--exclude-received",
			"--rollback", "--destroy-incompatible", "--keep-source", "1", "--keep-target", "1"}, append(slices.Clone(h.options), args...)...)}
	}
	var after *world
	for i, t := range h.targets {
		h.renameUnrelated(t)
		if h.over {
			return
		}
		var status int
		if i == 0 {
			status, _, after = h.runZab(run(t, "--allow-empty"))
		} else {
			status, _, after = h.runZab(run(t, "--no-snapshot"))
		}
		if h.over {
			return
		}
		if status != 0 {
			h.breaks("P4", "the run without faults ended with status %d", status)
			return
		}
		for _, d := range h.selected(after) {
			if c := after.datasets[t+"/"+d.name]; c.find(newestOurs(h, d)) == nil || c.token != "-" {
				h.breaks("P4", "'%s' is not up to date after a run without faults", t+"/"+d.name)
				return
			}
		}
	}
	if h.encryption != "raw" {
		h.compareFiles(pick(h, h.targets...), after)
	}
	for _, t := range h.targets {
		if h.over {
			return
		}
		status, before, now := h.runZab(run(t, "--no-snapshot"))
		if h.over {
			return
		}
		if status != 0 {
			h.breaks("P4", "status %d, and there is nothing to do", status)
			return
		}
		if x, y := before.String(), now.String(); len(h.targets) == 1 && x != y {
			h.breaks("P4", "there was something to do after all:\n%s\n%s", x, y)
			return
		}
		after = now
	}
	h.judgeHolds(after)
	if left := h.sshSockets(); len(left) > 0 && !h.over {
		// The next run over ssh removes the sockets left by a killed run.
		a := run(h.targets[0], "--no-snapshot", "--ssh-config", h.sshd.Config, "--ssh-target", "dst.test")
		h.runZab(a)
		if left := h.sshSockets(); len(left) > 0 && !h.over {
			h.breaks("P4", "left behind: %s", left)
		}
	}
}

// renameUnrelated renames copies that have no snapshot in common with their source, as zab
// advises.
func (h *history) renameUnrelated(t string) {
	for {
		w := h.look()
		if w == nil {
			return
		}
		moved := false
		for _, d := range h.selected(w) {
			c := w.datasets[t+"/"+d.name]
			if c == nil || commonBase(d, c).guid != "" || len(c.snapshots) == 0 && c.token != "-" {
				continue
			}
			h.serial++
			// ZFS moves nothing away from the dataset that has its key.
			h.must("up=%s; root=$(zfs get -Ho value encryptionroot %[2]s); case $root in - | %[2]s) ;; *) up=$root ;; esac; zfs rename %[2]s \"$up/old%[3]d\"",
				quote(poolOf(t)), quote(c.name), h.serial)
			moved = true
			break
		}
		if !moved || h.over {
			return
		}
	}
}

// compareFiles checks P3 for one dataset: at the newest snapshot in common it has the same
// files as its copy.
func (h *history) compareFiles(t string, w *world) {
	var list []*dataset
	for _, d := range h.selected(w) {
		if c := w.datasets[t+"/"+d.name]; d.kind == "filesystem" && commonBase(d, c).guid != "" {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return
	}
	d := pick(h, list...)
	b := commonBase(d, w.datasets[t+"/"+d.name])
	c := w.datasets[t+"/"+d.name].find(b.guid)
	out, ok := h.sh(`mkdir -p %[1]s/x %[1]s/y && mount -t zfs %[2]s %[1]s/x && mount -t zfs %[3]s %[1]s/y && diff -r %[1]s/x %[1]s/y; s=$?; umount %[1]s/x; umount %[1]s/y; exit $s`,
		h.dir, quote(d.name+"@"+b.name), quote(t+"/"+d.name+"@"+c.name))
	if !ok {
		h.breaks("P3", "'%s' differs from its copy: %s", d.name, out)
	}
}

// judgeHolds checks P4 after runs with the shortest schedules for all targets: only bases
// are held. It looks at snapshots that zab made: others are not thinned, so that a hold that
// a killed run left on them stays.
func (h *history) judgeHolds(w *world) {
	for _, d := range h.selected(w) {
		needed := map[string]bool{}
		for _, t := range h.targets {
			needed[commonBase(d, w.datasets[t+"/"+d.name]).guid] = true
		}
		check := func(d *dataset) {
			for _, s := range d.snapshots {
				if s.holds > 0 && h.isOurs(s) && !needed[s.guid] && !h.over {
					out, _ := exec.Command("zfs", "holds", "-H", d.name+"@"+s.name).Output()
					h.breaks("P4", "a hold is left: %s", out)
				}
			}
		}
		check(d)
		for _, t := range h.targets {
			if c := w.datasets[t+"/"+d.name]; c != nil {
				check(c)
			}
		}
	}
}

// sshSockets returns the directories for the sockets of ssh.
func (h *history) sshSockets() []string {
	dirs, _ := filepath.Glob(filepath.Join(h.dir, "zab-ssh-*"))
	return dirs
}
