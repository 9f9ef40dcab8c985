//go:build unix

package device

import (
	"os/exec"
	"syscall"
)

// detach gives the process a session of its own: Ctrl-C in the terminal then
// reaches this process alone, which ends the others when they have cleaned up,
// and no prompt can open the terminal.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
