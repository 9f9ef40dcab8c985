package ui

import (
	"strings"
)

// remedy is an error that knows what its reader can do about it.
type remedy interface {
	Remedy() string
}

// Error gives the text of err for people, for a stream whose palette p is: its
// first line, further lines indented, and a "next:" line for each remedy that
// err, or an error it wraps, offers through a method Remedy() string. It does
// not begin with "error": mage puts that before what a task returns.
func Error(p Palette, err error) string {
	lines := strings.Split(strings.TrimSpace(CleanLines(p.Commands.In(err.Error()))), "\n")
	out := []string{p.Bad(lines[0]).String()}
	for _, line := range lines[1:] {
		out = append(out, strings.TrimRight("  "+line, " \t"))
	}
	for _, next := range remedies(err) {
		out = append(out, p.Bold("next:").String()+" "+Clean(p.Commands.In(next)))
	}
	return strings.Join(out, "\n")
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
