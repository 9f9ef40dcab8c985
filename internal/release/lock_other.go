//go:build !unix

package release

import (
	"errors"
	"fmt"
	"os"
)

// lock keeps a second release of this workspace out, by a file that must not
// exist yet. A process that is killed leaves it behind.
func (w *Workspace) lock() (release func(), err error) {
	if err := w.open(); err != nil {
		return nil, err
	}
	path := w.path("lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil, &BusyError{Holder: "another process", Path: path}
	}
	if err != nil {
		return nil, stateError(err)
	}
	_, _ = fmt.Fprintf(f, "process %d\n", os.Getpid())
	return func() { f.Close(); os.Remove(path) }, nil
}
