package build

import (
	"errors"
	"testing"
)

// Platforms that failed alike are one error; all else stays apart.
func TestJoin(t *testing.T) {
	t.Parallel()
	fail := func(build, step, reason string, log ...string) *Error {
		return &Error{Build: build, Step: step, Err: errors.New(reason), Log: log}
	}
	other := errors.New("another kind")
	for name, tt := range map[string]struct {
		errs []error
		want string
	}{
		"alike": {
			[]error{fail("app linux/amd64", "[1/1] COPY a /", "no a"), fail("app linux/arm64", "[linux/amd64 1/1] COPY a /", "no a"), fail("app linux/arm/v6", "[linux/arm/v6 1/1] COPY a /", "no a")},
			"building app linux/amd64, linux/arm64, linux/arm/v6, step [1/1] COPY a /: no a",
		},
		"first named by another's platform": {
			[]error{fail("app linux/amd64", "[linux/arm64 build 2/3] RUN x", "1"), fail("app linux/arm64", "[build 2/3] RUN x", "1")},
			"building app linux/amd64, linux/arm64, step [build 2/3] RUN x: 1",
		},
		"times in the output": {
			[]error{fail("app linux/amd64", "RUN x", "1", "took 12 ms"), fail("app linux/arm64", "RUN x", "1", "took 3 ms")},
			"building app linux/amd64, linux/arm64, step RUN x: 1\n  | took 12 ms",
		},
		"other output": {
			[]error{fail("app linux/amd64", "RUN x", "1", "a"), fail("app linux/arm64", "RUN x", "1", "b")},
			"building app linux/amd64, step RUN x: 1\n  | a\nbuilding app linux/arm64, step RUN x: 1\n  | b",
		},
		"other target": {
			[]error{fail("app linux/amd64", "RUN x", "1"), fail("web linux/amd64", "RUN x", "1")},
			"building app linux/amd64, step RUN x: 1\nbuilding web linux/amd64, step RUN x: 1",
		},
		"other kind": {[]error{other, fail("app linux/amd64", "", "1")}, "another kind\nbuilding app linux/amd64: 1"},
	} {
		err := Join(tt.errs)
		if err.Error() != tt.want {
			t.Errorf("%s:\n%v\nwant\n%s", name, err, tt.want)
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: it is no *Error any more", name)
		}
	}
	if Join(nil) != nil {
		t.Error("no errors are one")
	}
}
