package smoke_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/smoke"
	"github.com/archmage-build/archmage/internal/worker"
)

// A worker proves what its processor runs, all of it, and says of the rest
// that it was emulated.
func TestOnWorker(t *testing.T) {
	t.Parallel()
	daemon := embeddedtest.NewWorker(t)
	w, err := worker.Connect(t.Context(), &config.Worker{Name: "rack"}, daemon.Address, worker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	host := registrytest.Serve(t)
	own := config.FormatPlatform(w.Host)
	target := publish(t, host+"/app", "1.0", nil, own, "linux/386", "linux/arm/v6")
	target.Cases = append(target.Cases,
		&config.Smoke{Command: []string{"exit", "3"}, Timeout: time.Minute, Expect: &config.Expect{ExitCode: 3, Stderr: []string{"^leaving with 3$"}}},
		&config.Smoke{Command: []string{"escape"}, Timeout: time.Minute, Expect: &config.Expect{NotStdout: []string{"alert"}}},
		&config.Smoke{Command: []string{"serve", ":80"}, Timeout: time.Minute, HTTP: &config.HTTP{Port: 80, Path: "/", Status: 200}},
	)
	connect := func(context.Context) (*worker.Worker, error) { return w, nil }
	provers := []smoke.Prover{
		smoke.OnWorker(&config.Device{Name: "rack", Worker: "rack"}, connect),
		smoke.OnWorker(&config.Device{Name: "gone", Worker: "gone", Optional: true}, func(context.Context) (*worker.Worker, error) {
			return nil, &worker.ConnectError{Worker: "gone", Address: "ssh://gone", Err: errors.New("no route")}
		}),
	}
	logs := t.TempDir()
	report, err := smoke.Run(t.Context(), provers, []*smoke.Target{target}, smoke.Options{LogDir: logs})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]smoke.Result{}
	for _, x := range report.Results {
		got[strings.Join([]string{x.Device, x.Platform, x.Case}, " ")] = x
	}
	want := map[string]smoke.Verdict{
		"rack " + own + " version": smoke.Passed, "rack " + own + " exit 3": smoke.Passed,
		"rack " + own + " escape": smoke.Failed, "rack " + own + " serve :80": smoke.Skipped,
		"gone  version": smoke.Unreachable,
	}
	if w.Host.Architecture == "amd64" {
		want["rack linux/386 version"] = smoke.Passed
	}
	for name, v := range want {
		if got[name].Verdict != v {
			t.Errorf("%s: %+v, want %s", name, got[name], v)
		}
	}
	x := got["rack "+own+" escape"]
	text, err := os.ReadFile(x.Log)
	if err != nil || strings.ContainsRune(string(text)+x.Tail+x.Reason, 0x1b) || !strings.Contains(x.Tail, `\x1b[31malert`) {
		t.Errorf("escapes reach the terminal: %q, tail %q, reason %q (%v)", text, x.Tail, x.Reason, err)
	}
	if x := got["rack "+own+" serve :80"]; !strings.Contains(x.Reason, "sandbox of a worker") {
		t.Errorf("http is refused with %q", x.Reason)
	}
	unproven := map[string]string{}
	for _, u := range report.Unproven {
		unproven[u.Platform] = u.Why
	}
	if unproven["linux/arm/v6"] != "no device" {
		t.Errorf("unproven: %q", unproven)
	}

	// Emulated is said to be so.
	needARM(t)
	v6 := platform(t, "linux/arm/v6")
	emulator := smoke.OnWorker(&config.Device{Name: "rack", Worker: "rack", Platform: &v6}, connect)
	target.Cases = target.Cases[:1]
	report, err = smoke.Run(t.Context(), []smoke.Prover{emulator}, []*smoke.Target{target}, smoke.Options{})
	if err != nil || report.Cell("rack", "app") != smoke.Emulated {
		t.Errorf("%v: %+v, want it emulated", err, report.Results)
	}
	if err := report.Err(smoke.Policy{Require: []ocispecs.Platform{v6}}); err == nil {
		t.Error("what was emulated is taken for a proof")
	}
	tags, err := smoke.VerifyTags(t.Context(), []smoke.Prover{emulator}, []*smoke.Target{target}, report, smoke.Options{})
	if err != nil || len(tags.Results) != 1 || tags.Results[0].Verdict != smoke.Emulated {
		t.Errorf("%v: %+v", err, tags.Results)
	}
}
