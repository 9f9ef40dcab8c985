package ui

import (
	"strings"
)

// hinted is an error that knows what its reader can do about it.
type hinted interface {
	Remedy() string
}

// Error gives the text of err for people, for a stream whose palette p is: its
// first line, further lines indented, and a "hint:" line with what err, or an
// error that it wraps, offers through a method Remedy() string: of several the
// outermost, which knows most of the situation, and of errors that stand side by
// side each one's own. It does not begin with "error": mage puts that before what
// a task returns.
func Error(p Palette, err error) string {
	lines := strings.Split(strings.TrimSpace(CleanLines(p.Commands.In(err.Error()))), "\n")
	out := []string{p.Bad(lines[0]).String()}
	for _, line := range lines[1:] {
		out = append(out, strings.TrimRight("  "+line, " \t"))
	}
	for _, hint := range Hints(err) {
		out = append(out, p.Bold("hint:").String()+" "+Clean(p.Commands.In(hint)))
	}
	return strings.Join(out, "\n")
}

// Hints are what can be done about an error: one, or one for each of the errors
// that were joined, without repetition.
func Hints(err error) []string {
	var found []string
	seen := map[string]bool{}
	var walk func(error)
	walk = func(err error) {
		for err != nil {
			if r, ok := err.(hinted); ok { //nolint:errorlint // this is the walk that errors.As does
				if hint := strings.TrimSpace(r.Remedy()); hint != "" {
					if !seen[hint] {
						seen[hint] = true
						found = append(found, hint)
					}
					return
				}
			}
			switch e := err.(type) { //nolint:errorlint // as above
			case interface{ Unwrap() error }:
				err = e.Unwrap()
			case interface{ Unwrap() []error }:
				for _, inner := range e.Unwrap() {
					walk(inner)
				}
				return
			default:
				return
			}
		}
	}
	walk(err)
	return found
}
