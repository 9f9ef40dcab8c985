package smoke

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/worker"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	web := &config.HTTP{Port: 80, Path: "/", Status: 200}
	for _, tt := range []struct {
		name string
		s    config.Smoke
		o    outcome
		want Verdict
		says string
	}{
		{"exit 0 is the default", config.Smoke{}, outcome{ended: true}, Passed, ""},
		{"exit code", config.Smoke{}, outcome{ended: true, exitCode: 3}, Failed, "exit code 3, not 0"},
		{"wanted exit code", config.Smoke{Expect: &config.Expect{ExitCode: 3}}, outcome{ended: true, exitCode: 3}, Passed, ""},
		{"out of memory", config.Smoke{}, outcome{ended: true, exitCode: 137, oomKilled: true}, Failed, "out of memory"},
		{"a line in the middle", config.Smoke{Expect: &config.Expect{Stdout: []string{"^two$"}}}, outcome{stdout: []byte("one\r\ntwo\r\nthree\n")}, Passed, ""},
		{"not across streams", config.Smoke{Expect: &config.Expect{Stdout: []string{"two"}}}, outcome{stderr: []byte("two")}, Failed, `no "two" in stdout`},
		{"unwanted", config.Smoke{Expect: &config.Expect{NotStderr: []string{"(?i)panic"}}}, outcome{stderr: []byte("PANIC: \x1b[31m")}, Failed, `"(?i)panic" in stderr: PANIC`},
		{"all problems", config.Smoke{Expect: &config.Expect{Stdout: []string{"a", "b"}}}, outcome{exitCode: 1, missing: []string{"/x"}}, Failed, "exit code 1, not 0; no \"a\" in stdout; no \"b\" in stdout; no file /x"},
		{"cut output", config.Smoke{Expect: &config.Expect{Stdout: []string{"end"}}}, outcome{stdout: []byte("aaa"), truncated: true}, Failed, "first 3 bytes"},
		{"timeout", config.Smoke{Timeout: time.Second}, outcome{timedOut: true}, TimedOut, "still ran after 1s"},
		{"other processor", config.Smoke{}, outcome{exitCode: 255, stderr: []byte("exec /hello: exec format error\n")}, WrongPlatform, "another processor"},
		{"other processor, old runc", config.Smoke{}, outcome{exitCode: 1, stderr: []byte("standard_init_linux.go:228: exec user process caused: exec format error\n")}, WrongPlatform, "another processor"},
		{"a program that says so", config.Smoke{}, outcome{exitCode: 1, stderr: []byte("log\nexec x: exec format error\n")}, Failed, "exit code 1"},
		{"http", config.Smoke{HTTP: web}, outcome{http: &httpOutcome{ok: true}}, Passed, ""},
		{"http and output", config.Smoke{HTTP: web, Expect: &config.Expect{Stdout: []string{"ready"}}}, outcome{http: &httpOutcome{ok: true}}, Failed, `no "ready" in stdout`},
		{"http never", config.Smoke{HTTP: web, Timeout: time.Second}, outcome{timedOut: true, http: &httpOutcome{problem: "status 503, not 200"}}, TimedOut, "http :80/: status 503, not 200, for 1s"},
		{"http of what ended", config.Smoke{HTTP: web}, outcome{ended: true, exitCode: 2, http: &httpOutcome{problem: "no answer"}}, Failed, "ended with exit code 2"},
	} {
		got, reason := judge(&tt.s, tt.o)
		if got != tt.want || !strings.Contains(reason, tt.says) || (tt.says == "") != (reason == "") {
			t.Errorf("%s: %s, %q; want %s, %q", tt.name, got, reason, tt.want, tt.says)
		}
		if strings.ContainsRune(reason, 0x1b) {
			t.Errorf("%s: an escape in %q", tt.name, reason)
		}
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want Verdict
	}{
		{&device.Error{Kind: device.Unreachable, Err: errors.New("x")}, Unreachable},
		{&device.Error{Kind: device.HostKey, Err: errors.New("x")}, Unreachable},
		{&device.Error{Kind: device.NoRuntime, Err: errors.New("x")}, Unreachable},
		{fmt.Errorf("asking: %w", &device.Error{Kind: device.DiskFull, Err: errors.New("x")}), PullFailed},
		{&device.Error{Kind: device.PullTimeout, Err: errors.New("x")}, PullFailed},
		{&device.Error{Kind: device.WrongPlatform, Err: errors.New("x")}, WrongPlatform},
		{&device.Error{Kind: device.StartFailed, Err: errors.New("x")}, Failed},
		{&worker.RunError{Stage: worker.RunPull, Err: errors.New("x")}, PullFailed},
		{&worker.RunError{Stage: worker.RunStart, Err: errors.New("x")}, Failed},
		{&worker.ConnectError{Err: errors.New("x")}, Unreachable},
		{errNoHTTP, Skipped},
	} {
		if got, reason := classify(tt.err); got != tt.want || reason == "" {
			t.Errorf("%v: %s (%q), want %s", tt.err, got, reason, tt.want)
		}
	}
}

func target(t *testing.T, names ...string) *Target {
	t.Helper()
	out := &Target{Name: "app"}
	for i, n := range names {
		p, err := config.ParsePlatform(n)
		if err != nil {
			t.Fatal(err)
		}
		out.Children = append(out.Children, Child{Platform: p, Digest: digest.FromString(fmt.Sprint(i))})
	}
	return out
}

func TestPick(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		children, wanted []string
		want             string
	}{
		{[]string{"linux/arm/v6", "linux/arm/v7"}, []string{"linux/arm/v7", "linux/arm/v6"}, "linux/arm/v7"},
		{[]string{"linux/arm/v6", "linux/arm64"}, []string{"linux/arm/v7", "linux/arm/v6"}, "linux/arm/v6"},
		{[]string{"linux/arm/v7"}, []string{"linux/arm/v6"}, ""},
		{[]string{"linux/arm64/v8"}, []string{"linux/arm64"}, "linux/arm64"},
		{[]string{"linux/arm64"}, []string{"linux/amd64", "linux/386"}, ""},
	} {
		c, err := target(t, tt.children...).pick(tt.wanted)
		got := ""
		if c != nil {
			got = c.Name()
		}
		if err != nil || got != tt.want {
			t.Errorf("%q of %q: %q, %v; want %q", tt.wanted, tt.children, got, err, tt.want)
		}
	}
	_, err := target(t, "linux/arm/v7", "linux/arm").pick([]string{"linux/arm/v7"})
	if err == nil || strings.Count(err.Error(), "sha256:") != 2 {
		t.Errorf("two children: %v; want an error that names both", err)
	}
}

func TestCaseNames(t *testing.T) {
	t.Parallel()
	target := &Target{Cases: []*config.Smoke{
		{Command: []string{"--version"}}, {Name: "named", Command: []string{"x"}}, {HTTP: &config.HTTP{Port: 80, Path: "/up"}}, {}, {Command: []string{"--version"}}, {Command: []string{"\x1b[2J"}},
	}}
	want := []string{"--version", "named", "http :80/up", "start", "--version #2", `\x1b[2J`}
	for i := range target.Cases {
		if got := caseName(target, i); got != want[i] {
			t.Errorf("case %d is %q, want %q", i, got, want[i])
		}
	}
}
