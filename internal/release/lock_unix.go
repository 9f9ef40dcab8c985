//go:build unix

package release

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lock keeps a second release of this workspace out. The kernel drops it with
// the process, however that ends.
func (w *Workspace) lock() (release func(), err error) {
	if err := w.open(); err != nil {
		return nil, err
	}
	path := w.path("lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, stateError(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &BusyError{Holder: strings.TrimSpace(string(holder)), Path: path}
		}
		return nil, stateError(fmt.Errorf("locking %s: %w", path, err))
	}
	// The content only tells people who holds it.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "process %d\n", os.Getpid())
	}
	return func() { f.Close() }, nil
}
