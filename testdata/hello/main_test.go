package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestPlatform(t *testing.T) {
	t.Parallel()
	tests := []struct {
		goos, goarch string
		settings     map[string]string
		want         string
	}{
		{"linux", "amd64", map[string]string{"GOAMD64": "v1"}, "linux/amd64"},
		{"linux", "amd64", map[string]string{"GOAMD64": "v3"}, "linux/amd64/v3"},
		{"linux", "arm64", map[string]string{"GOARM64": "v8.0"}, "linux/arm64"},
		{"linux", "arm", map[string]string{"GOARM": "7"}, "linux/arm/v7"},
		{"linux", "arm", map[string]string{"GOARM": "6,softfloat"}, "linux/arm/v6"},
		{"linux", "arm", nil, "linux/arm"},
		{"linux", "riscv64", nil, "linux/riscv64"},
	}
	for _, tt := range tests {
		if got := platform(tt.goos, tt.goarch, tt.settings); got != tt.want {
			t.Errorf("platform(%s, %s, %v) = %q, want %q", tt.goos, tt.goarch, tt.settings, got, tt.want)
		}
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path   string
		status int
		body   string
	}{
		{"/", http.StatusOK, "hello from " + runtime.GOOS + "/" + runtime.GOARCH},
		{"/healthz", http.StatusOK, "ok"},
		{"/other", http.StatusNotFound, "404"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) {
			t.Errorf("GET %s = %d %q, want %d and %q", tt.path, w.Code, w.Body, tt.status, tt.body)
		}
	}
}

// compile builds the program as a release does.
func compile(t *testing.T, dir, out string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -X main.version=1.2.3", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, "CGO_ENABLED=0")...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, msg)
	}
}

func TestProgram(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "hello")
	compile(t, ".", bin)

	out, err := exec.CommandContext(t.Context(), bin, "--version").Output()
	if err != nil {
		t.Fatalf("hello --version: %v", err)
	}
	if want := "hello 1.2.3 " + platform(runtime.GOOS, runtime.GOARCH, buildSettings()) + "\n"; string(out) != want {
		t.Errorf("hello --version printed %q, want %q", out, want)
	}

	cmd := exec.CommandContext(t.Context(), bin, "-addr", "127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil {
		t.Fatalf("waiting for the address: %v", err)
	}
	_, addr, found := strings.Cut(strings.TrimSpace(line), "listening on ")
	if !found {
		t.Fatalf("hello printed %q, want its address", line)
	}
	resp, err := http.Get("http://" + addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok\n" {
		t.Errorf("GET /healthz = %q, %v, want ok", body, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want a clean exit", err)
	}
}

func TestBadAddress(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"-addr", "127.0.0.1:none"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("run with a bad address = %v, want an error that names it", err)
	}
}
