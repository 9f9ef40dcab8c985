//go:build unix

package openssh

import (
	"os/exec"
	"syscall"
)

// detach keeps a terminal's Ctrl-C from ssh: the connection is needed to clean
// up on the other side.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
