package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device/devicetest"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/worker"
)

// connect starts the embedded worker with state of its own.
func connect(t *testing.T) *worker.Worker {
	t.Helper()
	d := embeddedtest.NewWorker(t)
	w, err := worker.Connect(t.Context(), &config.Worker{Name: "here"}, d.Address, worker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func push(t *testing.T, host string, p ocispecs.Platform, program []byte) string {
	t.Helper()
	cfg, layer := devicetest.Image(t, p, program)
	img := registrytest.Push(t, host+"/probe", registrytest.Spec{Config: cfg, Layers: [][]byte{layer}})
	return host + "/probe@" + img.Manifest.Digest.String()
}

func TestRun(t *testing.T) {
	t.Parallel()
	w := connect(t)
	host := registrytest.Serve(t)
	ref := push(t, host, w.Host, devicetest.Program(t, w.Host))
	request := func(args ...string) worker.RunRequest {
		return worker.RunRequest{Ref: ref, Platform: w.Host, Args: args, Pull: time.Minute, Timeout: time.Minute, Output: 1 << 16}
	}
	run := func(t *testing.T, req worker.RunRequest) worker.RunResult {
		t.Helper()
		got, err := w.Run(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	t.Run("entrypoint", func(t *testing.T) {
		got := run(t, request())
		if want := "probe linux/" + w.Host.Architecture + "\n"; string(got.Stdout) != want || got.ExitCode != 0 {
			t.Errorf("got %q, exit %d; want %q", got.Stdout, got.ExitCode, want)
		}
		if got.Config.Architecture != w.Host.Architecture {
			t.Errorf("the config's platform is %v", got.Config)
		}
	})
	t.Run("not cached", func(t *testing.T) {
		req := request("write", "/trace")
		req.Files = []string{"/trace", "/etc/probe.conf", "/nowhere"}
		if got := run(t, req); got.ExitCode != 0 || strings.Join(got.Missing, " ") != "/nowhere" {
			t.Errorf("exit %d, missing %q; want 0 and /nowhere", got.ExitCode, got.Missing)
		}
		req = request("exit", "0")
		req.Files = []string{"/trace"}
		if got := run(t, req); len(got.Missing) != 1 {
			t.Error("a file of the run before is still there")
		}
	})
	t.Run("exit codes", func(t *testing.T) {
		for _, code := range []string{"3", "125", "255"} {
			got := run(t, request("exit", code))
			if want, _ := json.Number(code).Int64(); int64(got.ExitCode) != want || !strings.Contains(string(got.Stderr), "leaving with "+code) {
				t.Errorf("exit %d, stderr %q; want %s", got.ExitCode, got.Stderr, code)
			}
		}
	})
	t.Run("arguments", func(t *testing.T) {
		args := []string{"a b", "$(reboot)", "'", "\"", "\n", ";", "ü✓", ""}
		var got []string
		if err := json.Unmarshal(run(t, request(append([]string{"args"}, args...)...)).Stdout, &got); err != nil || strings.Join(got, "|") != strings.Join(args, "|") {
			t.Errorf("arrived as %q (%v)", got, err)
		}
	})
	t.Run("environment", func(t *testing.T) {
		req := request("env", "PATH")
		req.Env = map[string]string{"PATH": "/else where"}
		if got := run(t, req); string(got.Stdout) != "/else where\n" {
			t.Errorf("got %q", got.Stdout)
		}
	})
	t.Run("flood", func(t *testing.T) {
		if got := run(t, request("flood", "20000")); len(got.Stdout) != 1<<16 || got.StdoutSize != 20000<<10 {
			t.Errorf("kept %d of %d bytes", len(got.Stdout), got.StdoutSize)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		req := request("stubborn")
		req.Timeout = time.Second
		begin := time.Now()
		if got := run(t, req); !got.TimedOut || string(got.Stdout) != "staying\n" || time.Since(begin) > 4*time.Second {
			t.Errorf("timed out: %t after %s, said %q", got.TimedOut, time.Since(begin), got.Stdout)
		}
	})
	t.Run("vanished", func(t *testing.T) {
		req := request()
		req.Ref = host + "/probe@sha256:" + strings.Repeat("0", 64)
		_, err := w.Run(t.Context(), req)
		var failed *worker.RunError
		if !errors.As(err, &failed) || failed.Stage != worker.RunPull || !strings.Contains(err.Error(), "not found") {
			t.Errorf("got %v; want a RunError of the pull", err)
		}
	})
	t.Run("registry hangs", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		req := request()
		req.Ref, req.Pull = l.Addr().String()+"/probe@sha256:"+strings.Repeat("0", 64), time.Second
		begin := time.Now()
		if _, err := w.Run(t.Context(), req); err == nil || time.Since(begin) > 3*time.Second {
			t.Errorf("%v after %s; want an error within 3 s", err, time.Since(begin))
		}
	})
	t.Run("broken program", func(t *testing.T) {
		req := request()
		req.Ref = push(t, host, w.Host, []byte("\x7fELF nothing that runs"))
		got, err := w.Run(t.Context(), req)
		if err != nil || got.ExitCode != 255 || !strings.Contains(string(got.Stderr), "exec format error") {
			t.Errorf("exit %d, stderr %q, %v; want 255 and the reason", got.ExitCode, got.Stderr, err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.Run(ctx, request("stubborn")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the context's own error", err)
		}
	})
}
