package smoke

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// ReportSchema is the version of the report's JSON form.
const ReportSchema = 1

// Report is what a run of cases on devices gave. It is part of the release's
// record.
type Report struct {
	Schema  int            `json:"schema"`
	Started time.Time      `json:"started"`
	Seconds float64        `json:"seconds"`
	Devices []DeviceReport `json:"devices"`
	Results []Result       `json:"results"`
	// Platforms is how many images of single platforms the report covers;
	// Unproven are those of them that no device ran on its own hardware.
	Platforms int        `json:"platforms"`
	Unproven  []Unproven `json:"unproven,omitempty"`
}

// DeviceReport is one device.
type DeviceReport struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional,omitempty"`
	// Facts are what it said of itself: device.Facts or WorkerFacts; nil if it
	// could not be asked.
	Facts any `json:"facts,omitempty"`
	// Warning is what weakens its proofs.
	Warning string  `json:"warning,omitempty"`
	Problem string  `json:"problem,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Result is one case of one target on one device.
type Result struct {
	Device   string  `json:"device"`
	Optional bool    `json:"optional,omitempty"`
	Target   string  `json:"target"`
	Case     string  `json:"case"`
	Platform string  `json:"platform,omitempty"`
	Digest   string  `json:"digest,omitempty"`
	Verdict  Verdict `json:"verdict"`
	// Reason says in a line why; "" for what passed. Hint is what to do next.
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
	Note   string `json:"note,omitempty"`
	// ExitCode is nil where the program did not end by itself.
	ExitCode *int    `json:"exitCode,omitempty"`
	Tries    int     `json:"tries"`
	Pull     float64 `json:"pullSeconds"`
	Seconds  float64 `json:"seconds"`
	// Log is the file with all that was kept of the output; Tail its last
	// lines, fit for a terminal.
	Log  string `json:"log,omitempty"`
	Tail string `json:"tail,omitempty"`
}

// Unproven is a platform that no device ran on its own hardware.
type Unproven struct {
	Target   string `json:"target"`
	Platform string `json:"platform"`
	Why      string `json:"why"`
}

// Policy is what a release asks of a report.
type Policy struct {
	// Require are platforms that must have passed on their own hardware.
	Require []ocispecs.Platform
	// Emulation is that of the release block; "forbid" makes a fault of what
	// ran under emulation on a required device.
	Emulation string
}

// NotProvenError says why a release must not be promoted: which image did not
// pass where. The reasons of single cases are in the report.
type NotProvenError struct {
	Problems []string
	// Hint is what to do next.
	Hint string
}

func (e *NotProvenError) Error() string { return strings.Join(e.Problems, "; ") }

// Remedy is what to do next.
func (e *NotProvenError) Remedy() string { return e.Hint }

// Err is a NotProvenError where the policy is not met, or nil.
func (r *Report) Err(p Policy) error {
	var problems []string
	hint := ""
	said := map[[2]string]bool{} // by target and platform
	for _, x := range r.Results {
		bad := x.Verdict.Bad() || x.Verdict == Emulated && p.Emulation == "forbid"
		if !bad || x.Optional {
			continue
		}
		if problem := x.problem(); !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
		if hint == "" {
			hint = x.advice()
		}
		said[[2]string{x.Target, x.Platform}] = true
	}
	for _, want := range p.Require {
		name := config.FormatPlatform(want)
		for _, u := range r.Unproven {
			if u.Platform == name && !said[[2]string{u.Target, name}] {
				problems = append(problems, fmt.Sprintf("%s %s must pass on a device (require_devices): %s", u.Target, name, u.Why))
			}
		}
	}
	if len(problems) == 0 {
		return nil
	}
	if hint == "" {
		hint = "declare a device of that platform, or leave the platform out of require_devices"
	}
	return &NotProvenError{Problems: problems, Hint: hint}
}

// problem is the result in words, without the reason.
func (x *Result) problem() string {
	image := strings.TrimSpace(x.Target + " " + x.Platform)
	switch x.Verdict {
	case Failed, TimedOut:
		return fmt.Sprintf("%s %s on %s", image, x.Verdict, x.Device)
	case Unreachable:
		return fmt.Sprintf("%s was not run on %s, which could not be used", image, x.Device)
	case PullFailed:
		return fmt.Sprintf("%s could not be pulled by %s", image, x.Device)
	case WrongPlatform:
		return fmt.Sprintf("%s is for another platform than %s", image, x.Device)
	case Emulated:
		return fmt.Sprintf("%s ran under emulation on %s", image, x.Device)
	}
	return fmt.Sprintf("%s on %s: %s", image, x.Device, x.Verdict)
}

// advice is what to do about the result.
func (x *Result) advice() string {
	switch {
	case x.Hint != "":
		return x.Hint
	case x.Verdict == Unreachable, x.Verdict == PullFailed:
		return "fix the device and run the same command again, or set optional = true in its block"
	case x.Verdict == Emulated:
		return "give the platform a device of its own hardware, or set release { emulation = \"warn\" }"
	}
	return "fix the image, or what its smoke block expects, and run the same command again"
}

// Cell is the worst verdict of a device on a target, for a matrix; "" if
// nothing of it ran there.
func (r *Report) Cell(device, target string) Verdict {
	worst := Verdict("")
	for _, x := range r.Results {
		if x.Device == device && x.Target == target && (worst == "" || x.Verdict.Worse(worst)) {
			worst = x.Verdict
		}
	}
	return worst
}

// Conclude is the report where no device was asked: nothing is proven.
func Conclude(targets []*Target) *Report {
	r := &Report{Schema: ReportSchema}
	r.conclude(targets)
	return r
}

// conclude notes the platforms that nobody proved.
func (r *Report) conclude(targets []*Target) {
	for _, t := range targets {
		for _, c := range t.Children {
			r.Platforms++
			if why := r.unproven(t, c); why != "" {
				r.Unproven = append(r.Unproven, Unproven{Target: t.Name, Platform: c.Name(), Why: why})
			}
		}
	}
}

// unproven says why an image is not proven, or gives "". It is proven where
// each case passed on a device that gave no other verdict on it.
func (r *Report) unproven(t *Target, c Child) string {
	if len(t.Cases) == 0 {
		return "the target has no smoke block"
	}
	worst := map[string]Verdict{}
	var devices []string
	for _, x := range r.of(t, c) {
		if x.Verdict == Skipped {
			continue
		}
		if old, ok := worst[x.Device]; !ok {
			devices = append(devices, x.Device)
			worst[x.Device] = x.Verdict
		} else if x.Verdict.Worse(old) {
			worst[x.Device] = x.Verdict
		}
	}
	passed := map[string]bool{}
	for _, x := range r.of(t, c) {
		if x.Verdict == Passed && worst[x.Device] == Passed {
			passed[x.Case] = true
		}
	}
	var open []string
	for i := range t.Cases {
		if name := caseName(t, i); !passed[name] {
			open = append(open, name)
		}
	}
	var why []string
	for _, d := range devices {
		if worst[d] != Passed {
			why = append(why, fmt.Sprintf("%s on %s", worst[d], d))
		}
	}
	switch {
	case len(open) == 0:
		return ""
	case len(devices) == 0:
		return "no device"
	case len(why) == 0:
		return "no device ran " + strings.Join(open, ", ")
	}
	return strings.Join(why, ", ")
}

// of are the results about an image.
func (r *Report) of(t *Target, c Child) []Result {
	var out []Result
	for _, x := range r.Results {
		if x.Target == t.Name && x.Platform == c.Name() {
			out = append(out, x)
		}
	}
	return out
}

// Summary says of how many platforms it was shown that they run: "proven 2 of 4
// platforms". Where it was of none, it does not speak of proof.
func (r *Report) Summary() string {
	n := r.Platforms - len(r.Unproven)
	if n == 0 {
		return fmt.Sprintf("none of %d platforms passed on hardware of its own", r.Platforms)
	}
	return fmt.Sprintf("proven %d of %d platforms", n, r.Platforms)
}

// WriteJSON writes the report for machines.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("writing the smoke report: %w", err)
	}
	return nil
}
