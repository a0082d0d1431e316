package torture

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// interruptStages runs the stages by themselves: it saves a plan, interrupts zab-xfer at
// various points, runs it again with the same plan or a later one, until it completes, and
// runs zab-thin. This takes much less time than whole runs.
func (h *history) interruptStages() {
	a := h.drawAttempt()
	for a.target == "" {
		a = h.drawAttempt()
	}
	if w := h.seen; w != nil {
		for range 2 {
			if fs := h.datasets(w, "filesystem"); len(fs) > 0 {
				h.write(pick(h, fs...), pick(h, 5000, 200000, 1000000))
			}
		}
	}
	show := exec.Command(filepath.Join(h.config.Programs, "zab"), append(append([]string{"--show-pipeline"}, a.args...), h.backup, a.target)...)
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
	// plan has some of the stages write the plan.
	plan := func(f *fault, numbers ...int) bool {
		var list []string
		for _, i := range numbers {
			list = append(list, stages[i])
		}
		// Its status does not matter: conflicts are in the records.
		h.runStage(a, strings.Join(list, " | ")+" >"+dir+"/plan", f)
		return !h.over
	}
	fresh := true // the plan fits the pools
	if h.oneIn(3) {
		// The plan of stages that died is either valid or refused.
		f := &fault{program: "zfs", command: "*", call: 1 + h.rng.Intn(8), arg: strconv.Itoa(1 + h.rng.Intn(900))}
		f.action = pick(h, "dies", "dies late", "its parent dies", "its parent dies late", "cut line", "cut line and fails", "garbled line")
		if strings.Contains(f.action, "line") {
			f.command, f.call = "list", 1+h.rng.Intn(3)
		}
		fresh = false
		if !plan(f, 0, 1, 2, 3) {
			return
		}
	} else if !plan(nil, 0, 1, 2, 3) {
		return
	}
	if h.oneIn(4) {
		// P9: a truncated record is refused.
		fresh = false
		h.runStage(a, "head -c "+strconv.Itoa(1+h.rng.Intn(12000))+" "+dir+"/plan | "+stages[4]+" >"+dir+"/done", nil)
		if h.over {
			return
		}
		h.tally.countFault("stage: plan cut")
	}
	transfer := "exec " + stages[4] + " <" + dir + "/plan >" + dir + "/done"
	for i := 0; i < 16 && !h.over; i++ {
		f := h.drawStageFault(a)
		h.tally.increment(&h.tally.steps)
		hit, status := h.runStage(a, transfer, f)
		if h.over {
			return
		}
		if !hit {
			if fresh && status != 0 && len(h.mayConflict(a, h.seen)) == 0 && f != nil {
				h.breaks("P4", "nothing was in the way of '%s', and its status is %d", transfer, status)
			}
			break
		}
		fresh = false
		if h.oneIn(3) {
			fresh = plan(nil, 0, 2)
		}
	}
	if h.over {
		return
	}
	// Thin by the records of the last transfer, or by the plan.
	f := h.drawStageFault(a)
	if f.action == "swallows" || f.action == "garbled" {
		f.action = "dies"
	}
	f.command, f.call = "*", 1+h.rng.Intn(3) // zab-thin neither sends nor receives
	h.runStage(a, "exec "+stages[5]+" <"+dir+"/"+pick(h, "done", "done", "plan")+" >"+dir+"/thinned", f)
}

// runStage runs a line of shell with stages and has the outcome judged. hit reports whether
// the fault took effect; status is the exit status, or -1.
func (h *history) runStage(a *attempt, line string, f *fault) (hit bool, status int) {
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
	ran := h.tally.timed("stages")
	begun := time.Now()
	var ended bool
	if hit, ended = h.execute(cmd, f, "it", &out); !ended {
		return hit, -1
	}
	ran()
	status = cmd.ProcessState.ExitCode()
	if f != nil {
		f.disarm(h)
		if hit {
			for range max(1, f.hits) {
				h.tally.countFault("stage: " + f.category())
			}
		} else {
			h.tally.increment(&h.tally.tooLate)
		}
	}
	h.say("# status %d after %.1fs: %s", status, time.Since(begun).Seconds(), strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", "\n\t#\t"))
	h.awaitProcesses()
	if h.over {
		return hit, status
	}
	after := h.look()
	if after == nil {
		return hit, status
	}
	// Snapshots need not have arrived, since the plan may be an earlier one.
	b := *a
	b.fault = &fault{action: "stage"}
	h.judge(&b, 1, before, after)
	return hit, status
}
