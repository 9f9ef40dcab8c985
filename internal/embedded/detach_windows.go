package embedded

import (
	"os/exec"
	"syscall"
)

// detachedProcess gives a process no console (CreateProcess, DETACHED_PROCESS).
const detachedProcess = 0x00000008

// detach cuts cmd off this console and its Ctrl-C.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP | detachedProcess}
}
