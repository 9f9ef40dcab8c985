package release

import (
	"fmt"
	"os"
	"strings"

	"github.com/gofrs/flock"
)

// lock keeps a second release of this workspace out. The kernel drops it with
// the process, however that ends.
func (w *Workspace) lock() (release func(), err error) {
	if err := w.open(); err != nil {
		return nil, err
	}
	l := flock.New(w.path("lock"), flock.SetPermissions(0o644))
	ok, err := l.TryLock()
	if err != nil {
		return nil, stateError(fmt.Errorf("locking %s: %w", l.Path(), err))
	}
	if !ok {
		holder, _ := os.ReadFile(l.Path())
		_ = l.Close()
		return nil, &BusyError{Holder: strings.TrimSpace(string(holder)), Path: l.Path()}
	}
	// The content only tells people who holds it.
	_ = os.WriteFile(l.Path(), fmt.Appendf(nil, "process %d\n", os.Getpid()), 0o644)
	w.sweep()
	return func() { _ = l.Close() }, nil
}

// partial is how a record is named while it is written.
const partial = ".tmp-"

// sweep removes what a killed process left half written. The lock is ours, so
// nobody writes it any more.
func (w *Workspace) sweep() {
	entries, err := os.ReadDir(w.path("releases"))
	if err != nil {
		return // there is none yet, or its first use says what is wrong
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), partial) {
			_ = os.Remove(w.path("releases", entry.Name())) // what stays does no harm
		}
	}
}

// BusyError says that another release of this workspace is under way.
type BusyError struct {
	Holder string
	Path   string
}

func (e *BusyError) Error() string {
	if e.Holder == "" { // it has just begun, or Windows does not let us read
		return "another release is under way here"
	}
	return fmt.Sprintf("another release is under way here (%s)", e.Holder)
}

// Remedy is what to do next.
func (e *BusyError) Remedy() string {
	return "wait for it to end, or end it; the lock is " + e.Path
}
