package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Hook is a `hook` block: a command of the project's own, run on the workstation
// before or after a step of a release. If it fails, the release stops there.
type Hook struct {
	// Point is when it runs: before- or after-, and one of Steps.
	Point string `hcl:"point,label"`
	// Command is the program and its arguments. No shell is involved.
	Command []string `hcl:"command"`
	// Dir is where it runs; left out: beside the configuration.
	Dir string `hcl:"dir,optional"`
	// Env are variables for it, beside those of the environment.
	Env map[string]string `hcl:"env,optional"`
	// TimeoutText bounds the run; left out: 10m.
	TimeoutText string `hcl:"timeout,optional"`

	Body hcl.Body `hcl:",body"`

	Timeout time.Duration
}

// HookTimeout bounds a hook that names no timeout.
const HookTimeout = 10 * time.Minute

// Steps are those of a release, in order, as hooks name them.
var Steps = []string{"build", "assemble", "annotate", "inspect", "upload", "prove", "sign", "promote", "verify"}

// HookPoints are where hooks may run, in order.
func HookPoints() []string {
	var points []string
	for _, s := range Steps {
		points = append(points, "before-"+s, "after-"+s)
	}
	return points
}

// CheckHookPoint refuses what is not a point of a release.
func CheckHookPoint(point string) error {
	points := HookPoints()
	if slices.Contains(points, point) {
		return nil
	}
	if near := nearest(point, points); near != "" {
		return fmt.Errorf("there is no point %q in a release; did you mean %q?", point, near)
	}
	return fmt.Errorf("there is no point %q in a release; a hook runs before- or after- one of %s", point, strings.Join(Steps, ", "))
}

func (h *Hook) check() hcl.Diagnostics {
	var diags hcl.Diagnostics
	if h.Body == nil {
		return nil
	}
	fail := func(subject *hcl.Range, summary, detail string) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: subject})
	}
	if err := CheckHookPoint(h.Point); err != nil {
		fail(h.Body.MissingItemRange().Ptr(), "Invalid hook", Sentence(err))
	}
	if len(h.Command) == 0 {
		fail(at(h.Body, "command", -1), "Empty command", `A hook runs a command: command = ["./scan.sh"].`)
	}
	h.Timeout = duration(h.Body, "timeout", h.TimeoutText, HookTimeout, &diags)
	return diags
}

// Where finds the place of an attribute of the hook block, or the block.
func (h *Hook) Where(name string) *hcl.Range { return at(h.Body, name, -1) }
