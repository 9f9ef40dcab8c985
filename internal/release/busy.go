package release

import "fmt"

// BusyError says that another release of this workspace is under way.
type BusyError struct {
	Holder string
	Path   string
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("another release is under way here (%s)", e.Holder)
}

// Remedy is what to do next.
func (e *BusyError) Remedy() string {
	return "wait for it to end, or end it; the lock is " + e.Path
}
