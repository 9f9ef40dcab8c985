package device

import "fmt"

// Kind is the class of what went wrong with a device.
type Kind string

// The kinds of errors.
const (
	Unreachable   Kind = "unreachable"     // no connection, or it was lost
	HostKey       Kind = "host key"        // unknown, changed, or not the pinned one
	Denied        Kind = "login refused"   // no key, wrong user
	NoShell       Kind = "no shell"        // connected, but scripts do not run
	NoRuntime     Kind = "no runtime"      // none found, not running, or not allowed
	NotThere      Kind = "image not there" // the registry does not have it
	DiskFull      Kind = "disk full"       // no space left on the device
	NoRegistry    Kind = "no registry"     // the device does not reach it, or may not pull
	PullFailed    Kind = "pull failed"     // the runtime says why
	PullTimeout   Kind = "pull timed out"  // longer than pull_timeout
	StartFailed   Kind = "start failed"    // the container was not started
	WrongPlatform Kind = "wrong platform"  // the image or the device is for another
)

// Error says what is wrong with a device, and what to do next.
type Error struct {
	Device string
	// Host as declared.
	Host string
	Kind Kind
	Err  error
	// Hint is what to do next.
	Hint string

	lost bool
}

func (e *Error) Error() string {
	at := ""
	if e.Host != "" && e.Host != "local" {
		at = " at " + e.Host
	}
	return fmt.Sprintf("device %q%s: %s: %v", e.Device, at, e.Kind, e.Err)
}

// Reason is the error without the device, for where that is named already.
func (e *Error) Reason() string {
	if e.Kind == Unreachable { // says no more
		return e.Err.Error()
	}
	return fmt.Sprintf("%s: %v", e.Kind, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *Error) Remedy() string { return e.Hint }
