package embedded

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// identity tells a process from any other that has or will have its id.
type identity struct {
	PID int `json:"pid"`

	// Birth is when the process began, in a form that only equals itself.
	Birth string `json:"birth"`

	// Exe is the path of the program it runs.
	Exe string `json:"exe"`
}

// identify returns the identity of the running process pid.
func identify(pid int) (identity, error) {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return identity{}, fmt.Errorf("finding process %d: %w", pid, err)
	}
	born, err := birth(p)
	if err != nil {
		return identity{}, fmt.Errorf("reading the start time of process %d: %w", pid, err)
	}
	// The program of a process in another user namespace cannot be read.
	exe, err := p.Exe()
	if err != nil {
		exe = ""
	}
	return identity{PID: pid, Birth: born, Exe: strings.TrimSuffix(exe, " (deleted)")}, nil
}

// alive reports whether that very process still runs. A zombie does not.
func (id identity) alive() bool {
	if id.PID <= 1 || id.Birth == "" {
		return false
	}
	now, err := identify(id.PID)
	if err != nil || now != id {
		return false
	}
	p, err := process.NewProcess(int32(id.PID))
	if err != nil {
		return false
	}
	status, err := p.Status()
	return err != nil || !slices.Contains(status, process.Zombie)
}

// signal sends sig to the process if it is still that very one.
func (id identity) signal(sig os.Signal) error {
	if !id.alive() {
		return nil
	}
	p, err := os.FindProcess(id.PID)
	if err != nil {
		return fmt.Errorf("finding process %d: %w", id.PID, err)
	}
	defer func() { _ = p.Release() }()
	// Since Go 1.23 p is a pidfd on Linux, so after a second look the signal
	// cannot reach a process that came later.
	if !id.alive() {
		return nil
	}
	if err := p.Signal(sig); err != nil && id.alive() {
		return fmt.Errorf("sending %s to process %d: %w", sig, id.PID, err)
	}
	return nil
}

// gone waits until all of ids have ended, for limit at most, and returns those
// that have not.
func gone(ctx context.Context, limit time.Duration, ids ...identity) []identity {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		ids = slices.DeleteFunc(ids, func(id identity) bool { return !id.alive() })
		if len(ids) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ids
		case <-tick.C:
		}
	}
}

// descendants returns the children of process pid and theirs.
func descendants(pid int) ([]identity, error) {
	all, err := process.Processes()
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	children := map[int32][]int32{}
	for _, p := range all {
		// A process that ends meanwhile is no longer of interest.
		if parent, err := p.Ppid(); err == nil {
			children[parent] = append(children[parent], p.Pid)
		}
	}
	var found []identity
	for queue := []int32{int32(pid)}; len(queue) > 0; queue = queue[1:] {
		for _, child := range children[queue[0]] {
			if id, err := identify(int(child)); err == nil {
				found = append(found, id)
				queue = append(queue, child)
			}
		}
	}
	return found, nil
}

// end asks the process to end, then ends it, with all it started.
func end(ctx context.Context, id identity, patience time.Duration) error {
	// What a daemon started may outlive it and lose its parent: look first.
	family, err := descendants(id.PID)
	if err != nil {
		return err
	}
	if err := id.signal(syscall.SIGTERM); err != nil {
		// Windows knows no SIGTERM.
		if err := id.signal(os.Kill); err != nil {
			return err
		}
	}
	left := gone(ctx, patience, id)
	if len(left) > 0 {
		if more, err := descendants(id.PID); err == nil {
			family = append(family, more...)
		}
		if err := id.signal(os.Kill); err != nil {
			return err
		}
	}
	for _, member := range gone(ctx, time.Second, family...) {
		// The kernel ends those in a namespace of their own with its first
		// process; signals to them may be forbidden.
		_ = member.signal(os.Kill)
	}
	// Even if ctx is done by now, give the kernel a moment for the kill.
	all := append([]identity{id}, family...)
	if left := gone(context.WithoutCancel(ctx), 5*time.Second, all...); len(left) > 0 {
		return fmt.Errorf("ending process %d (%s): process %d still runs; end it with: kill -9 %d", id.PID, id.Exe, left[0].PID, left[0].PID)
	}
	return nil
}
