package smoke

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// Two cases on two devices, with every verdict on each, beside a target
// without a smoke block: what is called proven, what is required of it, and
// what the last line says.
func TestWhatIsProven(t *testing.T) {
	t.Parallel()
	verdicts := []Verdict{"", Skipped, Passed, Emulated, Failed, Unreachable}
	app := target(t, "linux/arm/v6")
	app.Cases = []*config.Smoke{{Name: "one"}, {Name: "two"}}
	plain := target(t, "linux/arm/v6", "linux/amd64")
	plain.Name = "plain"
	required := []ocispecs.Platform{app.Children[0].Platform}
	n := 0
	for _, a1 := range verdicts {
		for _, a2 := range verdicts {
			for _, b1 := range verdicts {
				for _, b2 := range verdicts {
					r := &Report{}
					for device, list := range map[string][]Verdict{"a": {a1, a2}, "b": {b1, b2}} {
						for i, v := range list {
							if v != "" {
								r.Results = append(r.Results, Result{Device: device, Optional: true, Target: "app", Case: []string{"one", "two"}[i], Platform: "linux/arm/v6", Verdict: v})
							}
						}
					}
					r.conclude([]*Target{app, plain})
					n++

					clean := func(list ...Verdict) bool {
						return !slices.ContainsFunc(list, func(v Verdict) bool { return v != "" && v != Skipped && v != Passed })
					}
					passed := func(a, b Verdict) bool { return a == Passed && clean(a1, a2) || b == Passed && clean(b1, b2) }
					want := passed(a1, b1) && passed(a2, b2)

					what := fmt.Sprintf("%q %q, %q %q", a1, a2, b1, b2)
					got := !slices.ContainsFunc(r.Unproven, func(u Unproven) bool { return u.Target == "app" })
					if got != want {
						t.Fatalf("%s: proven %t, want %t: %v", what, got, want, r.Unproven)
					}
					if r.Platforms != 3 || len(r.Unproven) != 2 && want || len(r.Unproven) != 3 && !want {
						t.Fatalf("%s: %d platforms, unproven: %v", what, r.Platforms, r.Unproven)
					}
					if s := r.Summary(); (s == "proven 1 of 3 platforms") != want || strings.Contains(s, "proven") != want {
						t.Fatalf("%s: %q", what, s)
					}
					var e *NotProvenError // plain is built for it too
					if err := r.Err(Policy{Require: required}); !errors.As(err, &e) || strings.Contains(err.Error(), "app linux") == want || !strings.Contains(err.Error(), "plain linux/arm/v6 must") {
						t.Fatalf("%s: %v", what, err)
					}
					if err := r.Err(Policy{}); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
				}
			}
		}
	}
	t.Logf("%d combinations", n)
	if s := Conclude([]*Target{app, plain}).Summary(); strings.Contains(s, "proven") || !strings.Contains(s, "3 platforms") {
		t.Errorf("where nothing ran: %q", s)
	}
}
