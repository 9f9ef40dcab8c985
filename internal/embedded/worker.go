package embedded

import (
	"context"
	"net"
	"strings"
)

// workerName is the Name of the worker's Daemon.
const workerName = "worker"

// StartWorker starts BuildKit as this user, or finds the one that runs, and
// returns it once it takes connections. Its Address is for a BuildKit client.
// It works on Linux only, as root or, through user namespaces, as an ordinary
// user; otherwise the error says what is missing and which package or setting
// brings it. It speaks plain HTTP to registries on loopback addresses.
func (m *Machine) StartWorker(ctx context.Context) (Daemon, error) {
	return m.startWorker(ctx)
}

// accepts reports whether something takes connections at a unix:// address.
func accepts(ctx context.Context, address string) bool {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok {
		return false
	}
	conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "unix", path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
