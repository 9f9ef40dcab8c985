//go:build !linux

package embedded

import (
	"context"
	"fmt"
	"runtime"
)

func (m *Machine) startWorker(context.Context) (Daemon, error) {
	return Daemon{}, fmt.Errorf("starting worker: the embedded BuildKit needs Linux, and this is %s; declare a worker block in targets.hcl (ssh:// to a Linux machine, or docker-container://), set BUILDKIT_HOST, or start Docker Desktop", runtime.GOOS)
}

func (m *Machine) sweep(context.Context) error { return nil }
