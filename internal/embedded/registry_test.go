package embedded

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// accepting returns an answer that never changes.
func accepting(yes bool) func(context.Context) bool {
	return func(context.Context) bool { return yes }
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"localhost:5000":              "127.0.0.1:5000",
		"LOCALHOST:80":                "127.0.0.1:80",
		"127.0.0.1:5000":              "127.0.0.1:5000",
		"127.9.9.9:65535":             "127.9.9.9:65535",
		"[::1]:5000":                  "[::1]:5000",
		"localhost":                   "",
		"localhost:0":                 "",
		"localhost:65536":             "",
		"localhost:http":              "",
		"0.0.0.0:5000":                "",
		":5000":                       "",
		"[::]:5000":                   "",
		"192.168.1.2:5000":            "",
		"localhost.evil.example:5000": "",
		"docker.io:443":               "",
	} {
		got, err := loopback(host)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", host, got, err, want)
		}
		if err != nil && (!strings.Contains(err.Error(), strconv.Quote(host)) || !strings.Contains(err.Error(), "targets.hcl")) {
			t.Errorf("%s: error without the address or a remedy: %v", host, err)
		}
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	m := machineIn(t.TempDir())
	for status, foreign := range map[int]bool{http.StatusOK: true, http.StatusUnauthorized: true, http.StatusNotFound: false, http.StatusFound: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(status)
		}))
		defer server.Close()
		addr := server.Listener.Addr().String()
		d, err := m.StartRegistry(t.Context(), addr)
		if foreign {
			if err != nil || !d.Foreign || d.PID != 0 || d.Address != addr {
				t.Errorf("status %d: %+v, %v; want a foreign registry", status, d, err)
			}
			continue
		}
		_, port, _ := net.SplitHostPort(addr)
		if err == nil || !strings.Contains(err.Error(), "port "+port+" is taken") {
			t.Errorf("status %d: %+v, %v; want the port taken", status, d, err)
			continue
		}
		if runtime.GOOS == "linux" && !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
			t.Errorf("status %d: %v; want this process named", status, err)
		}
	}
	if left, err := m.Status(); err != nil || len(left) > 0 {
		t.Errorf("status %+v, %v; want nothing of ours", left, err)
	}
}

func TestRegistryConfigKeepsItsSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	read := func() string {
		name, err := registryConfig(dir, "127.0.0.1:5000")
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := read()
	if second := read(); first != second {
		t.Errorf("two configurations:\n%s\n%s", first, second)
	}
}

func machineIn(dir string) *Machine {
	return &Machine{
		Dirs:    Dirs{Cache: filepath.Join(dir, "cache"), State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run")},
		Environ: os.Environ(),
	}
}
