//go:build !unix

package build

import (
	"os/exec"
	"time"
)

// asGroup leaves cmd as it is: without process groups only it can be ended.
func asGroup(*exec.Cmd) {}

func endGroup(*exec.Cmd, time.Duration) {}
