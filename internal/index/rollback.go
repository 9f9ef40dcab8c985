package index

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/journal"
)

// Rollback returns the moves that undo others: each tag goes back to what it
// named before, and one that did not exist is removed (Digest ""). A tag that
// did not change is left out. Removals come last, so that no name is missing
// while others still move.
func Rollback(moves []journal.Move) []journal.Move {
	var back, removed []journal.Move
	for _, m := range moves {
		if m.Digest == m.Previous {
			continue
		}
		undo := m
		undo.Digest, undo.Previous = m.Previous, m.Digest
		if undo.Digest == "" {
			removed = append(removed, undo)
			continue
		}
		back = append(back, undo)
	}
	return append(back, slices.Clip(removed)...)
}

// UntagError lists tags that a registry does not remove. All other moves of
// the promotion were made.
type UntagError struct {
	// Tags still name Digests, of the same place in the list.
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
	return "remove them by the registry's own means (its web page or command), or leave them: nothing else names them"
}
