package build

import (
	"errors"
	"slices"
	"strings"
)

// Join is errors.Join for the builds of a release. Builds of one target that
// failed alike, as the platforms of a broken Dockerfile do, become one Error that
// names them all.
func Join(errs []error) error {
	var out []error
	for _, err := range errs {
		e, ok := err.(*Error) //nolint:errorlint // a wrapped one says more than itself
		if !ok {
			out = append(out, err)
			continue
		}
		i := slices.IndexFunc(out, func(o error) bool {
			prev, ok := o.(*Error) //nolint:errorlint // as above
			return ok && alike(prev, e)
		})
		if i < 0 {
			copied := *e
			out = append(out, &copied)
			continue
		}
		_, platform, _ := strings.Cut(e.Build, " ")
		out[i].(*Error).Build += ", " + platform //nolint:errorlint // as above
	}
	return errors.Join(out...)
}

// alike reports whether two builds of one target failed in one way. Numbers in
// the output, such as times and process ids, differ from run to run.
func alike(a, b *Error) bool {
	target, _, _ := strings.Cut(a.Build, " ")
	other, _, _ := strings.Cut(b.Build, " ")
	return target == other && instruction(a.Step) == instruction(b.Step) && a.Source == b.Source && a.Hint == b.Hint &&
		a.Err.Error() == b.Err.Error() && sameLines(a.Log, b.Log)
}

// instruction is a step without the stage, the platform and the number before it:
// builds in one solve share steps, which have the name that one of them gave.
func instruction(step string) string {
	if _, rest, ok := strings.Cut(step, "] "); ok && strings.HasPrefix(step, "[") {
		return rest
	}
	return step
}

func sameLines(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool { return withoutDigits(x) == withoutDigits(y) })
}

func withoutDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}
