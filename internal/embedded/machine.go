// Package embedded runs BuildKit and a registry on this machine, compiled once from pinned Go modules.
package embedded

import (
	"fmt"
	"time"
)

// Machine is this machine as a place to run a worker and registries.
// The zero value of Report and Environ is usable; Dirs is not.
type Machine struct {
	// Dirs says where parts, state and sockets lie.
	Dirs Dirs

	// Environ is the user's environment in the form of os.Environ. The
	// compiler and the daemons get what they need of it, never all.
	Environ []string

	// Report, if set, is told what is going on, at least every second while
	// something takes long. It must be safe for concurrent use.
	Report func(Event)

	// AnyoneWrites lets registries take writes from everybody on this machine:
	// for tests, whose programs have no login.
	AnyoneWrites bool
}

// New returns the machine as environ (in the form of os.Environ) describes it.
func New(environ []string, report func(Event)) (*Machine, error) {
	dirs, err := DirsFromEnv(func(key string) string { return lookup(environ, key) })
	if err != nil {
		return nil, err
	}
	return &Machine{Dirs: dirs, Environ: environ, Report: report}, nil
}

// Daemon is a worker or registry that listens on this machine.
type Daemon struct {
	// Name is "worker", or "registry 127.0.0.1:5000".
	Name string `json:"name"`

	// PID is the process to signal. It is 0 if the daemon is not ours.
	PID int `json:"pid,omitempty"`

	// Address is where clients connect: "unix:///…/buildkitd.sock" for a
	// worker, "127.0.0.1:5000" for a registry.
	Address string `json:"address"`

	// Log is the file that holds the daemon's own words.
	Log string `json:"log,omitempty"`

	// Since is when the daemon was started.
	Since time.Time `json:"since,omitzero"`

	// Reused reports that the daemon ran before the call that returned it.
	Reused bool `json:"-"`

	// Foreign reports that somebody else runs the daemon; Down leaves it alone.
	Foreign bool `json:"-"`
}

// Phase is a stage of what Machine does.
type Phase string

// The phases, in the order in which they may come.
const (
	Waiting     Phase = "waiting"     // another process does the same work
	Downloading Phase = "downloading" // Detail is a module and its version
	Compiling   Phase = "compiling"   // Done of Total packages; Detail is a package
	Linking     Phase = "linking"     // all packages are compiled
	Compiled    Phase = "compiled"    // Detail is the path of the program
	Starting    Phase = "starting"    // the daemon does not answer yet
	Ready       Phase = "ready"       // Detail is the address
	Reused      Phase = "reused"      // Detail is the address
	Stopping    Phase = "stopping"    // the daemon was asked to end
	Stopped     Phase = "stopped"
	Note        Phase = "note" // Detail is a sentence the user should read
)

// Event is one live word on what is going on.
type Event struct {
	// Subject is the part or daemon it is about, such as "buildkitd".
	Subject string
	Phase   Phase
	Detail  string

	// Done and Total count packages while compiling; Total is 0 if unknown.
	Done, Total int

	// Elapsed is the time since the work on Subject began.
	Elapsed time.Duration
}

// String returns e as one line, without its elapsed time.
func (e Event) String() string {
	switch e.Phase {
	case Note:
		return fmt.Sprintf("%s: %s", e.Subject, e.Detail)
	case Compiling:
		if e.Total > 0 {
			return fmt.Sprintf("compiling %s: %d of %d packages, %s", e.Subject, e.Done, e.Total, e.Detail)
		}
	}
	s := fmt.Sprintf("%s %s", e.Phase, e.Subject)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

func (m *Machine) report(e Event) {
	if m.Report != nil {
		m.Report(e)
	}
}
