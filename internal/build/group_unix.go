//go:build unix

package build

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// asGroup makes cmd the leader of a process group, all of which is interrupted
// with it.
func asGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
}

// endGroup waits for what an interrupted cmd has left, and kills it after grace:
// a shell's background jobs, for one, ignore the interrupt.
func endGroup(cmd *exec.Cmd, grace time.Duration) {
	group := -cmd.Process.Pid
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(grace)
	for !errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
		select {
		case <-tick.C:
		case <-end:
			_ = syscall.Kill(group, syscall.SIGKILL)
			return
		}
	}
}
