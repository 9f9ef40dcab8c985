package journal

import "fmt"

// NoRecordError says that a step was asked for before the one it builds on.
type NoRecordError struct {
	Dir  string
	Want string
	// Hint is what to do next; "" for the step that is missing.
	Hint string
}

func (e *NoRecordError) Error() string {
	return fmt.Sprintf("%s (%s)", e.Want, e.Dir)
}

// Remedy is what to do next.
func (e *NoRecordError) Remedy() string {
	if e.Hint != "" {
		return e.Hint
	}
	return "run `mage build` first, or `mage release` for all of it"
}

// RecordError is a record that cannot be read. It is never written over.
type RecordError struct {
	Path string
	Err  error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("the record %s is unreadable: %v", e.Path, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *RecordError) Remedy() string {
	return "move the file away to go on without it (what its release had built is built again, and `mage rollback` knows nothing of it), or use the archmage that wrote it"
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

// StateError is a failure to keep the state of a release.
type StateError struct{ Err error }

func (e *StateError) Error() string {
	return fmt.Sprintf("writing the state of the release: %v", e.Err)
}

func (e *StateError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *StateError) Remedy() string {
	return "make room, or make " + Dir + " writable, and run the same command again: it goes on from the last record"
}

func stateError(err error) error {
	if err == nil {
		return nil
	}
	return &StateError{Err: err}
}
