package ui

import (
	"io"
	"strings"
)

// remedy is an error that knows what its reader can do about it.
type remedy interface {
	Remedy() string
}

// Error tells w about err: its first line after "error:", further lines
// indented, and a "next:" line for each remedy that err, or an error it wraps,
// offers through a method Remedy() string. A nil error prints nothing.
func Error(w *Stream, err error) {
	if err == nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(CleanLines(err.Error())), "\n")
	var b strings.Builder
	b.WriteString(w.Bad("error: "+lines[0]).String() + "\n")
	for _, line := range lines[1:] {
		b.WriteString(strings.TrimRight("  "+line, " \t") + "\n")
	}
	for _, next := range remedies(err) {
		b.WriteString(w.Bold("next:").String() + " " + Clean(next) + "\n")
	}
	// There is nobody left to tell that telling failed.
	_, _ = io.WriteString(w, b.String())
}

// remedies walks the tree of err and returns each remedy once, outermost first.
func remedies(err error) []string {
	var found []string
	seen := map[string]bool{"": true}
	var walk func(error)
	walk = func(err error) {
		if r, ok := err.(remedy); ok {
			if next := strings.TrimSpace(r.Remedy()); !seen[next] {
				seen[next] = true
				found = append(found, next)
			}
		}
		switch e := err.(type) { //nolint:errorlint // this is the walk that errors.As does
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	return found
}
