package index

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// UntagError lists tags that a registry does not remove. All other moves of
// the promotion were made.
type UntagError struct {
	// Tags still point to Digests, of the same place in the list.
	Tags    []string
	Digests []digest.Digest
	// Err is the registry's own refusal, of the first one.
	Err error
}

// Error implements error.
func (e *UntagError) Error() string {
	tags := make([]string, len(e.Tags))
	for i, tag := range e.Tags {
		tags[i] = fmt.Sprintf("%s (%s)", tag, e.Digests[i])
	}
	return fmt.Sprintf("tags that did not exist before are still there, as the registry does not remove tags: %s", strings.Join(tags, ", "))
}

// Unwrap gives the registry's refusal.
func (e *UntagError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *UntagError) Remedy() string {
	return "remove them by the registry's own means (its web page or command), or leave them: nothing else points to them"
}
