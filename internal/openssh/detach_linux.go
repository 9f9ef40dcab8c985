package openssh

import (
	"os/exec"
	"syscall"
)

// detach gives ssh a session of its own: a terminal's Ctrl-C does not reach it,
// as the connection is needed to clean up on the other side, and no prompt can
// open the terminal. Should this process be killed, ssh ends at once, which it
// does not by itself while a forwarded connection is open.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
}
