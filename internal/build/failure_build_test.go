package build

import (
	"bytes"
	"context"
	"crypto/rand"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/worker"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

func TestFailingStep(t *testing.T) {
	t.Parallel()
	r := shell(t, `
RUN echo before
RUN for i in $(/busybox seq 1 100); do echo line $i; done; echo the reason; printf 'no end'; exit 7
`)
	e := r.refused(`platforms = ["linux/arm/v7"]`, "exit code: 7")
	if e.Build != "app linux/arm/v7" || !strings.Contains(e.Step, "RUN for i in") {
		t.Errorf("build %q, step %q", e.Build, e.Step)
	}
	if log := strings.Join(e.Log, "\n"); len(e.Log) != logLines || !strings.HasSuffix(log, "line 100\nthe reason\nno end") {
		t.Errorf("the last lines are %q", e.Log)
	}
	if !strings.Contains(e.Source, ">>> RUN for i in") || !strings.Contains(e.Source, "Dockerfile:6") {
		t.Errorf("source:\n%s", e.Source)
	}
	if e.Hint == "" || strings.Contains(e.Error(), "rpc error") || strings.Contains(e.Error(), "failed to solve") {
		t.Errorf("%v (%s)", e, e.Hint)
	}

	// A cache that is not there is no reason.
	e = r.refused(`cache-from = ["`+r.host+`/nothing:here"]`, "exit code: 7")
	if !strings.Contains(e.Step, "RUN for i in") {
		t.Errorf("step %q", e.Step)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	dir := withBusybox(t, files(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY not-there /\n",
		"Syntax":     "FROM scratch\nCOPPY a /\n",
		"Nobody":     "FROM 127.0.0.1:1/nobody:1\n",
		"Foreign":    "FROM scratch\nCOPY foreign /\nRUN [\"/foreign\"]\n",
		"Empty":      "",
	}))
	program, err := os.ReadFile(filepath.Join(dir, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	// e_machine of the ELF header; no handler is registered for this one.
	binary.LittleEndian.PutUint16(program[18:], uint16(elf.EM_VAX))
	if err := os.WriteFile(filepath.Join(dir, "foreign"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, dir)
	for body, want := range map[string]struct{ text, source, hint string }{
		``:                       {`"not-there" is not in the context`, ">>> COPY not-there /", "relative to the context"},
		`dockerfile = "Syntax"`:  {"unknown instruction: COPPY", ">>> COPPY a /", "fix"},
		`dockerfile = "Nobody"`:  {"127.0.0.1:1", ">>> FROM 127.0.0.1:1/nobody:1", ""},
		`dockerfile = "Foreign"`: {"exec format error", ">>> RUN", "FROM --platform=$BUILDPLATFORM"},
		`dockerfile = "Empty"`:   {"empty", "", ""},
	} {
		e := r.refused(body, want.text)
		if !strings.Contains(e.Source, want.source) || !strings.Contains(e.Hint, want.hint) || e.Hint == "" {
			t.Errorf("%s: %v (%s)", body, e, e.Hint)
		}
	}
}

// guarded is the rig's registry behind a wall.
func (r *rig) guarded(wall func(w http.ResponseWriter, req *http.Request) bool) string {
	r.t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.host})
	proxy.Transport = registrytest.HTTP.Transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !wall(w, req) {
			proxy.ServeHTTP(w, req)
		}
	}))
	r.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	refuse := func(status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method == http.MethodGet || req.Method == http.MethodHead {
				return false
			}
			http.Error(w, http.StatusText(status), status)
			return true
		}
	}
	for name, tt := range map[string]struct {
		host       string
		text, hint string
	}{
		"wants credentials": {r.guarded(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="wall"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return true
		}), "401", "docker login"},
		"forbids":            {r.guarded(refuse(http.StatusForbidden)), "403", "docker login"},
		"is out of order":    {r.guarded(refuse(http.StatusInternalServerError)), "500", ""},
		"is not there":       {"127.0.0.1:1", "connection refused", ""},
		"is another service": {r.guarded(func(w http.ResponseWriter, req *http.Request) bool { http.NotFound(w, req); return true }), "404", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, client: r.client, host: tt.host, env: r.env, dir: r.dir}
			e := r.refused("", tt.text)
			if !strings.Contains(e.Hint, tt.hint) || e.Hint == "" {
				t.Errorf("%v (%s)", e, e.Hint)
			}
		})
	}
}

// waiting is a Dockerfile whose step says its mark and then waits.
func waiting(t *testing.T, mark string) string {
	t.Helper()
	return withBusybox(t, files(t, map[string]string{"Dockerfile": scratch + "RUN echo begun; exec /busybox sleep " + mark + "\n"}))
}

// sleeping says whether a process sleeps for that long.
func sleeping(t *testing.T, mark string) bool {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lines {
		if line, err := os.ReadFile(name); err == nil && bytes.Equal(line, []byte("/busybox\x00sleep\x00"+mark+"\x00")) {
			return true
		}
	}
	return false
}

func TestCancel(t *testing.T) {
	t.Parallel()
	const mark = "86401"
	r := newRig(t, waiting(t, mark))
	b := builds(t, r.spec(""))[0]
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the user pressed Ctrl-C")
	d, err := NewDisplay(&r.output, ModePlain)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := r.run(ctx, b, nil, d)
		ended <- err
	}()
	await(t, "step", func() bool { return sleeping(t, mark) })
	cancel(stop)
	begin := time.Now()
	if err := <-ended; !errors.Is(err, stop) {
		t.Errorf("%v, want the reason of the interrupt", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("returned after %s", took)
	}
	await(t, "end of the step", func() bool { return !sleeping(t, mark) })
	d.Close()
	// The daemon is as good as before.
	r.dir = files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	r.build("")
}

// doom is what steps print whose worker is well.
var doom = []string{
	"no space left on device", "write /x: No space left on device", "rpc error: code = Unavailable desc = transport is closing",
	"error reading from server: EOF", "closing transport", "no active sessions", "no active session for abc: context deadline exceeded",
	"unexpected EOF", "code = ResourceExhausted desc = out of memory", "context canceled", "context deadline exceeded", "cannot allocate memory",
	"exec format error", "401 Unauthorized", "failed to read dockerfile", "is not allowed: entitlement", "server gave HTTP response to HTTPS client",
}

// A step that ended with a code is the Dockerfile's failure, whatever it printed,
// whatever its command line says, and whatever the code.
func TestWordsDecideNothing(t *testing.T) {
	t.Parallel()
	dir := withBusybox(t, t.TempDir())
	codes := []int{1, 2, 28, 100, 127, 130, 137}
	for i, words := range doom {
		write(t, dir, map[string]string{fmt.Sprint("D", i): scratch + "RUN echo \"--- FAIL: " + words + "\"; echo \"" + words + "\" >&2; exit " + fmt.Sprint(codes[i%len(codes)]) + "\n"})
	}
	r := newRig(t, dir)
	for i, words := range doom {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, client: r.client, host: r.host, env: r.env, dir: r.dir}
			e := r.refused(fmt.Sprintf("dockerfile = %q", fmt.Sprint("D", i)), fmt.Sprintf("exit code: %d", codes[i%len(codes)]))
			if !strings.Contains(e.Step, "RUN echo") || e.Hint != again {
				t.Errorf("step %q, hint %q", e.Step, e.Hint)
			}
		})
	}
}

// Of a program that cannot be executed the exit code tells, not what is printed.
func TestNotExecutable(t *testing.T) {
	t.Parallel()
	r := shell(t, "RUN echo nothing; exit 126\n")
	if e := r.refused("", "exit code: 126"); !strings.Contains(e.Hint, "FROM --platform=$BUILDPLATFORM") {
		t.Errorf("hint %q", e.Hint)
	}
}

// full fails on a daemon with a small disk and returns the worker's loss.
func full(t *testing.T, size, dockerfile string, files map[string]int) error {
	t.Helper()
	dir := withBusybox(t, t.TempDir())
	write(t, dir, map[string]string{"Dockerfile": dockerfile})
	for name, size := range files {
		data := make([]byte, size)
		_, _ = rand.Read(data) // never fails
		write(t, dir, map[string]string{name: string(data)})
	}
	_, err := rigOn(t, hosttest.Start(t, hosttest.Options{Size: size}).Unix(), dir).try((&rig{t: t, host: embeddedtest.Registry(t)}).spec(""))
	return err
}

// A disk that is really full is the worker's loss, whoever notices it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		size, dockerfile string
		files            map[string]int
		step             bool
	}{
		"sending the context": {"16m", "FROM scratch\nCOPY noise /noise\n", map[string]int{"noise": 32 << 20}, false},
		"copying":             {"64m", "FROM scratch\nCOPY noise /1\nCOPY noise /2\nCOPY noise /3\n", map[string]int{"noise": 24 << 20}, false},
		"exporting":           {"64m", "FROM scratch\nCOPY noise /1\n", map[string]int{"noise": 25 << 20}, false},
		"in a step":           {"16m", scratch + "RUN dd if=/dev/zero of=/zero bs=1M count=32\n", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := full(t, tt.size, tt.dockerfile, tt.files)
			var lost *worker.Lost
			// The daemon may meet the full disk itself while a step fails of it.
			if !errors.As(err, &lost) || !lost.Full || lost.Own != nil && !tt.step {
				t.Errorf("%T: %v, want a *worker.Lost that is full", err, err)
			}
		})
	}
}

// A message that is larger than the daemon takes is no full disk, though gRPC has
// one code for both.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	b := builds(t, r.spec(""))[0]
	large := strings.Repeat("x", 17<<20)
	b.Spec.Args = map[string]*string{"LARGE": &large}
	d, err := NewDisplay(&r.output, ModePlain)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var e *Error
	if _, err := r.run(t.Context(), b, nil, d); !errors.As(err, &e) || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("%T: %.300v, want a *build.Error that says so", err, err)
	}
}

func TestLostWorker(t *testing.T) {
	t.Parallel()
	const mark = "86402"
	daemon := embeddedtest.NewWorker(t)
	r := rigOn(t, daemon.Address, waiting(t, mark))
	ended := make(chan error, 1)
	go func() {
		_, err := r.try(r.spec(""))
		ended <- err
	}()
	await(t, "step", func() bool { return sleeping(t, mark) })
	if err := syscall.Kill(daemon.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	err := <-ended
	var lost *worker.Lost
	if !errors.As(err, &lost) || lost.Worker != "rack" {
		t.Errorf("%T: %v, want a *worker.Lost", err, err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("noticed after %s", took)
	}
	// Whoever asks again is told the same.
	if _, err := r.try(r.spec("")); !errors.As(err, &lost) {
		t.Errorf("again: %T: %v, want a *worker.Lost", err, err)
	}
}
