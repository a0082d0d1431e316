package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// again returns a command that repeats the last run of zab, at a later time of its clock.
func (h *history) again() *exec.Cmd {
	args := slices.Clone(h.last)
	h.tick()
	for i, s := range args {
		if s == "--now" {
			args[i+1] = h.now.Format(time.RFC3339)
		}
	}
	cmd := exec.Command(filepath.Join(h.bin, "zab"), args...)
	h.prepare(cmd, h.path, &bytes.Buffer{})
	return cmd
}

// sweep runs the stages separately: it saves a plan and interrupts its execution at
// various points, with the same plan and with later ones, until it completes. This costs
// much less than whole runs.
func (h *history) sweep() {
	a := h.draw()
	for a.target == "" {
		a = h.draw()
	}
	if w := h.seen; w != nil {
		for range 2 {
			if fs := h.datasets(w, "filesystem"); len(fs) > 0 {
				h.write(pick(h, fs...), pick(h, 5000, 200000, 1000000))
			}
		}
	}
	show := exec.Command(filepath.Join(h.bin, "zab"), append(append([]string{"--show-pipeline"}, a.args...), h.name, a.target)...)
	show.Env = append(os.Environ(), "PATH="+h.path)
	out, err := show.Output()
	if err != nil {
		h.stuck("cannot see the pipeline: " + err.Error())
		return
	}
	stages := strings.Split(strings.TrimSpace(string(out)), " |\n  ")
	if len(stages) != 6 {
		h.stuck("the pipeline is another: " + string(out))
		return
	}
	dir := h.dir
	plan := func(f *fault, with ...int) bool {
		var list []string
		for _, i := range with {
			list = append(list, stages[i])
		}
		// Conflicts of a dataset are in its record.
		h.stage(a, strings.Join(list, " | ")+" >"+dir+"/plan", f)
		return !h.given
	}
	fresh := true
	if h.one(3) {
		// A plan whose writers died is either valid or refused.
		f := &fault{program: "zfs", sub: "*", k: 1 + h.rng.Intn(8), arg: strconv.Itoa(1 + h.rng.Intn(900))}
		f.how = pick(h, "dies", "dies late", "its parent dies", "its parent dies late", "cut line", "cut line and fails", "garbled line")
		if strings.Contains(f.how, "line") {
			f.sub, f.k = "list", 1+h.rng.Intn(3)
		}
		fresh = false
		if !plan(f, 0, 1, 2, 3) {
			return
		}
	} else if !plan(nil, 0, 1, 2, 3) {
		return
	}
	if h.one(4) {
		// P9: a truncated record is refused.
		fresh = false
		h.stage(a, "head -c "+strconv.Itoa(1+h.rng.Intn(12000))+" "+dir+"/plan | "+stages[4]+" >"+dir+"/done", nil)
		if h.given {
			return
		}
		h.sum.fault("stage: plan cut")
	}
	transfer := "exec " + stages[4] + " <" + dir + "/plan >" + dir + "/done"
	for i := 0; i < 16 && !h.given; i++ {
		f := h.drawStageFault(a)
		h.sum.add(&h.sum.steps)
		hit, status := h.stage(a, transfer, f)
		if h.given {
			return
		}
		if !hit {
			if fresh && status != 0 && len(h.mayFail(a, h.seen)) == 0 && f != nil {
				h.breaks("P4", "nothing was in the way of '%s', and its status is %d", transfer, status)
			}
			break
		}
		fresh = false
		if h.one(3) {
			fresh = plan(nil, 0, 2)
		}
	}
	if h.given {
		return
	}
	// Thin by the outcome of all this, or by the plan as it was before.
	f := h.drawStageFault(a)
	if f.how == "swallows" || f.how == "garbled" {
		f.how = "dies"
	}
	f.sub, f.k = "*", 1+h.rng.Intn(3) // zab-thin neither sends nor receives
	h.stage(a, "exec "+stages[5]+" <"+dir+"/"+pick(h, "done", "done", "plan")+" >"+dir+"/thinned", f)
}

// drawStageFault draws a fault for a stage that runs alone.
func (h *history) drawStageFault(a *attempt) *fault {
	f := &fault{program: "zfs", sub: pick(h, "*", "*", "send", "receive", "receive", "hold"), k: 1 + h.rng.Intn(3), arg: strconv.Itoa(pick(h, 0, 1, 100, 312, 5000, 50000))}
	if f.sub == "*" {
		f.k += h.rng.Intn(4)
	}
	if a.remote && h.one(2) {
		f.far = true
	}
	f.how = pick(h, "dies", "dies late", "its parent dies", "its parent dies", "its parent dies late", "its parent dies late", "killed soon", "cut", "fails", "fails late")
	if h.one(15) {
		f.how = pick(h, "hangs", "hangs late") // it takes seconds until the run gives up
	}
	if f.sub == "receive" && h.one(4) {
		f.how = pick(h, "swallows", "garbled")
	}
	if f.how == "killed soon" || strings.HasPrefix(f.how, "fails") {
		f.arg = "1"
	}
	if strings.HasPrefix(f.how, "fails") {
		f.message = h.drawMessage(f)
	}
	return f
}

// stage runs a shell line that contains stages, and checks whether it breaks a promise.
// It reports whether the fault took effect, and the exit status.
func (h *history) stage(a *attempt, line string, f *fault) (hit bool, status int) {
	before := h.seen
	if before == nil || h.stale {
		before = h.look()
	}
	if before == nil {
		return false, -1
	}
	note := ""
	if f != nil {
		note = "    # " + f.String()
	}
	h.say("%s%s", line, note)
	path := h.path
	if f != nil {
		path = f.arm(h) + path
	}
	cmd := exec.Command("sh", "-c", line)
	var out bytes.Buffer
	h.prepare(cmd, path, &out)
	ran := h.sum.clock("stages")
	begun := time.Now()
	var ended bool
	if hit, ended = h.finish(cmd, f, "it", &out); !ended {
		return hit, -1
	}
	ran()
	status = cmd.ProcessState.ExitCode()
	if f != nil {
		f.disarm(h)
		if hit {
			for range max(1, f.hits) {
				h.sum.fault("stage: " + f.kind())
			}
		} else {
			h.sum.add(&h.sum.missed)
		}
	}
	h.say("# status %d after %.1fs: %s", status, time.Since(begun).Seconds(), strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", "\n\t#\t"))
	h.left()
	if h.given {
		return hit, status
	}
	after := h.look()
	if after == nil {
		return hit, status
	}
	// The arrival of snapshots is judged only for runs that plan anew.
	b := *a
	b.fault = &fault{how: "stage"}
	h.judge(&b, 1, before, after)
	return hit, status
}
