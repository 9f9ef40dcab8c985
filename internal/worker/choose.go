package worker

import (
	"fmt"
	"strings"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// NoneError says that no worker may build a platform.
type NoneError struct {
	Build   string
	Reasons []string
}

func (e *NoneError) Error() string {
	return fmt.Sprintf("no worker may build %s: %s", e.Build, strings.Join(e.Reasons, "; "))
}

// Remedy is what to do next.
func (e *NoneError) Remedy() string {
	return "add a worker for the platform, list it in a worker's emulates, or set release { emulation = \"warn\" }"
}

// Choose gives the workers that may build b, those that do so natively first.
func Choose(workers []*Worker, b *plan.Build, specs []*config.Worker, emulation string) ([]*Worker, error) {
	var native, foreign []*Worker
	none := &NoneError{Build: b.ID()}
	for _, w := range workers {
		if w.Builds(b.Platform) {
			native = append(native, w)
			continue
		}
		switch declared := declares(specs, w.Name); {
		case emulation == "forbid":
			none.Reasons = append(none.Reasons, fmt.Sprintf("%s builds %s natively and emulation is forbidden", w.Name, names(w)))
		case declared && !emulates(specs, w.Name, b):
			none.Reasons = append(none.Reasons, fmt.Sprintf("%s is declared for %s only", w.Name, names(w)))
		default:
			foreign = append(foreign, w)
		}
	}
	if len(native)+len(foreign) == 0 {
		return nil, none
	}
	return append(native, foreign...), nil
}

func declares(specs []*config.Worker, name string) bool {
	for _, s := range specs {
		if s.Name == name {
			return len(s.Platforms) > 0
		}
	}
	return false
}

func emulates(specs []*config.Worker, name string, b *plan.Build) bool {
	for _, s := range specs {
		if s.Name != name {
			continue
		}
		for _, p := range s.Emulates {
			if config.FormatPlatform(p) == b.PlatformName() {
				return true
			}
		}
	}
	return false
}

func names(w *Worker) string {
	var out []string
	for _, p := range w.Native {
		out = append(out, config.FormatPlatform(p))
	}
	return strings.Join(out, ", ")
}
