package registry

import (
	"fmt"
	"strings"
)

// Kind says what kept a registry from doing what was asked.
type Kind int

// What can go wrong between us and a registry.
const (
	Failed       Kind = iota // it answered with an error that has no kind of its own
	Unreachable              // nobody listens, or no answer came in time
	UnknownHost              // the name does not resolve
	Scheme                   // it speaks plain HTTP where HTTPS was expected
	Untrusted                // its certificate is not trusted
	Unauthorized             // it wants credentials, and there are none
	Denied                   // it refuses the credentials it was given
	Credentials              // the credentials could not be read on this side
	NotRegistry              // what answers there is no registry
	NotFound                 // the repository, manifest or blob does not exist
	NoRepository             // nothing can be written, as the repository does not exist
	Quota                    // too many requests
	Unavailable              // it answers 5xx, however often it is asked
	Unsupported              // it does not do what was asked
	Corrupt                  // the bytes are not those the digest or size names
)

// Error is what a user is told when a registry stands in the way.
type Error struct {
	// Kind is for callers that act on it.
	Kind Kind
	// Host is the registry as it stands in references.
	Host string
	// Ref is the reference or repository that was worked on; may be empty.
	Ref string
	// Reason says what is wrong.
	Reason string
	// Hint says what to do next.
	Hint string
	// Err is the cause.
	Err error
}

// Error implements error: where, and what is wrong. Remedy adds what to do.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Ref != "" {
		fmt.Fprintf(&b, "%s: ", e.Ref)
	}
	fmt.Fprintf(&b, "registry %q %s", e.Host, e.Reason)
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *Error) Remedy() string { return e.Hint }
