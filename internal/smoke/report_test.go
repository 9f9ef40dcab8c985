package smoke

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

var update = flag.Bool("update", false, "rewrite golden files")

func sample(t *testing.T) *Report {
	t.Helper()
	code := 3
	r := &Report{
		Schema: ReportSchema, Started: time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC), Seconds: 4.25,
		Devices: []DeviceReport{{Name: "door", Seconds: 4.2}, {Name: "shed", Optional: true, Problem: "gone"}, {Name: "lab", Seconds: 2}},
		Results: []Result{
			{Device: "door", Target: "app", Case: "--version", Platform: "linux/arm/v6", Digest: "sha256:aa", Verdict: Passed, Tries: 1, Pull: 1.5, Seconds: 0.25},
			{Device: "door", Target: "app", Case: "check \x1b[31m<&>\"", Platform: "linux/arm/v6", Digest: "sha256:aa", Verdict: Failed, Reason: "exit code 3, not 0", ExitCode: &code, Tries: 2, Seconds: 1, Tail: "said ]]> & \x00 ü"},
			{Device: "shed", Optional: true, Target: "app", Case: "--version", Verdict: Unreachable, Reason: "no route", Hint: "switch it on"},
			{Device: "lab", Target: "app", Case: "--version", Platform: "linux/arm64", Verdict: Emulated, Reason: "not its own"},
			{Device: "lab", Target: "db", Verdict: Skipped, Reason: "it is built for linux/s390x"},
		},
	}
	app := target(t, "linux/arm/v6", "linux/arm64", "linux/amd64")
	app.Cases = []*config.Smoke{{}}
	db := target(t, "linux/s390x")
	db.Name = "db"
	r.conclude([]*Target{app, db})
	return r
}

func TestWrite(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*Report, io.Writer) error{"report.json": (*Report).WriteJSON, "report.xml": (*Report).WriteJUnit} {
		var b bytes.Buffer
		if err := write(sample(t), &b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, diff)
		}
	}
}

// The XML is well formed whatever a device printed, and its counts are right.
func TestJUnitIsValid(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample(t).WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	tests, failures, skipped, errs := 0, 0, 0, 0
	for _, s := range got.Suites {
		for _, c := range s.Cases {
			tests++
			switch {
			case c.Failure != nil:
				failures++
			case c.Error != nil:
				errs++
			case c.Skipped != nil:
				skipped++
			}
		}
	}
	if got.Tests != tests || got.Failures != failures || got.Errors != errs || failures != 1 || tests != 9 || skipped != 7 {
		t.Errorf("tests %d/%d, failures %d/%d, errors %d/%d, skipped %d", got.Tests, tests, got.Failures, failures, got.Errors, errs, skipped)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	platform := func(s string) []ocispecs.Platform {
		p, err := config.ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		return []ocispecs.Platform{p}
	}
	good := sample(t)
	good.Results = good.Results[2:] // without the failure
	for _, tt := range []struct {
		name   string
		report *Report
		policy Policy
		want   string
	}{
		{"a required device failed", sample(t), Policy{}, "app linux/arm/v6 failed on door"},
		{"optional ones may be away", good, Policy{}, ""},
		{"emulation forbidden", good, Policy{Emulation: "forbid"}, "app linux/arm64 ran under emulation on lab"},
		{"emulation allowed", good, Policy{Emulation: "allow"}, ""},
		{"required, no device", good, Policy{Require: platform("linux/amd64")}, "app linux/amd64 must pass on a device (require_devices): no device"},
		{"required, emulated", good, Policy{Require: platform("linux/arm64")}, "emulated on lab"},
		{"required, not built", good, Policy{Require: platform("linux/386")}, ""},
	} {
		err := tt.report.Err(tt.policy)
		var n *NotProvenError
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &n) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	r := sample(t)
	for cell, want := range map[[2]string]Verdict{
		{"door", "app"}: Failed, {"shed", "app"}: Unreachable, {"lab", "app"}: Emulated, {"lab", "db"}: Skipped, {"door", "db"}: "",
	} {
		if got := r.Cell(cell[0], cell[1]); got != want {
			t.Errorf("%q: %q, want %q", cell, got, want)
		}
	}
}
