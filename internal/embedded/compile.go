package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// heartbeat is how often a long step says that it still goes on.
const heartbeat = time.Second

// compile builds the recipe in src, which holds its module, into out.
func (m *Machine) compile(ctx context.Context, p Part, r recipe, src, out string, begin time.Time) error {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("compiling %q: the go command is not on PATH; install Go %s or later (https://go.dev/dl), or declare a worker in targets.hcl", p, strings.TrimPrefix(minimumGo(src), "go "))
	}
	cc := ""
	if r.cgo {
		if cc, err = compiler(p); err != nil {
			return err
		}
	}
	w := newWatch(m, p, begin)
	defer w.stop()

	// The first pass fetches what is missing and learns how much there is to
	// do; the second names each package as its turn comes.
	flags := []string{"-trimpath", "-buildvcs=false", "-tags=" + r.tags, "-ldflags=" + r.ldflags}
	var stale bytes.Buffer
	list := append([]string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, flags...)
	build := append([]string{"build", "-v", "-o", out}, flags...)
	for _, step := range []struct {
		args   []string
		stdout io.Writer
	}{
		{append(list, r.target), &stale},
		{append(build, r.target), nil},
	} {
		cmd := exec.CommandContext(ctx, goTool, step.args...)
		cmd.Dir = src
		cmd.Env = append(compileEnv(m.Environ, cc), "PWD="+src)
		cmd.Stdout = step.stdout
		// The go command removes its temporary files on an interrupt.
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		if step.stdout == nil {
			w.expect(strings.Fields(stale.String()))
		}
		if err := w.run(cmd); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("compiling %q: %w", p, context.Cause(ctx))
			}
			return &CompileError{Part: p, Output: w.output(), Remedy: remedy(w.output()), Err: err}
		}
	}
	return nil
}

// compiler returns the C compiler to use, or an error that names the package.
func compiler(p Part) (string, error) {
	for _, cc := range []string{"gcc", "clang", "cc"} {
		if _, err := exec.LookPath(cc); err == nil {
			return cc, nil
		}
	}
	return "", &CompileError{Part: p, Err: errNoCompiler, Remedy: "install one (Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc; Alpine: apk add gcc musl-dev)"}
}

var errNoCompiler = errors.New("it is partly C, and no C compiler (gcc, clang, cc) is on PATH")

// minimumGo returns the go line of the module in src.
func minimumGo(src string) string {
	data, err := os.ReadFile(src + "/go.mod")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "go ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// CompileError is a part that did not compile.
type CompileError struct {
	Part   Part
	Output string // the last lines of the go command
	Remedy string // what to do next
	Err    error
}

func (e *CompileError) Error() string {
	s := fmt.Sprintf("compiling %q: %v", e.Part, e.Err)
	if e.Output != "" {
		s += "\n  " + strings.ReplaceAll(e.Output, "\n", "\n  ")
	}
	return s + "\n" + e.Remedy
}

func (e *CompileError) Unwrap() error { return e.Err }

// remedy returns what to do about a go command that ended with output. The
// go command has no other way than words to say what went wrong.
func remedy(output string) string {
	for _, r := range []struct{ sign, remedy string }{
		{"no space left on device", "the disk is full: make room for about 3 GB in the Go caches (go env GOCACHE GOMODCACHE; go clean -cache) and the temporary directory, then run again"},
		{"signal: killed", "the system ended the compiler, most likely for want of memory: free about 2 GB, or set GOMAXPROCS=1, then run again"},
		{"No such file or directory", "a C header is missing (Debian, Ubuntu: apt-get install gcc libc6-dev; Alpine: apk add gcc musl-dev)"},
		{"requires go >=", "install that version of Go, or let Go fetch it with GOTOOLCHAIN=auto"},
		{"checksum mismatch", "the module cache or proxy holds other bytes than were pinned: run go clean -modcache, or set GOPROXY=https://proxy.golang.org"},
		{"permission denied", "give the Go caches back to this user (go env GOCACHE GOMODCACHE), then run again"},
		{"dial tcp", offline}, {"no such host", offline}, {"proxyconnect", offline}, {"i/o timeout", offline},
		{"module lookup disabled", offline}, {"connection re", offline}, {"Bad Gateway", offline}, {"Service Unavailable", offline}, {"x509: ", offline},
	} {
		if strings.Contains(output, r.sign) {
			return r.remedy
		}
	}
	return "declare a worker in targets.hcl to do without the embedded one, or report this with the output above"
}

const offline = "the Go module proxy cannot be reached: check the network, GOPROXY and HTTPS_PROXY, then run again; what has arrived is kept"

// watch turns the words of the go command into events.
type watch struct {
	m     *Machine
	begin time.Time
	done  chan struct{}
	ended chan struct{}

	mu    sync.Mutex
	event Event
	stale map[string]bool
	last  []string
}

func newWatch(m *Machine, p Part, begin time.Time) *watch {
	w := &watch{
		m: m, begin: begin, done: make(chan struct{}), ended: make(chan struct{}),
		event: Event{Subject: string(p), Phase: Compiling, Detail: "looking for what is missing"},
	}
	w.tell()
	go func() {
		defer close(w.ended)
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
				w.tell()
			}
		}
	}()
	return w
}

func (w *watch) stop() {
	close(w.done)
	<-w.ended
}

func (w *watch) tell() {
	w.mu.Lock()
	e := w.event
	w.mu.Unlock()
	e.Elapsed = time.Since(w.begin)
	w.m.report(e)
}

// expect says which packages are about to be compiled.
func (w *watch) expect(packages []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stale = make(map[string]bool, len(packages))
	for _, p := range packages {
		w.stale[p] = true
	}
	w.event.Total = len(packages)
	w.next("")
}

// next moves on to a package. The last one is the program itself, which the
// linker takes longer for than the compiler.
func (w *watch) next(pkg string) {
	w.event.Phase, w.event.Detail = Compiling, pkg
	if w.event.Total > 0 && w.event.Done >= w.event.Total-1 {
		w.event.Phase, w.event.Detail = Linking, ""
	}
}

// run runs cmd and follows its standard error.
func (w *watch) run(cmd *exec.Cmd) error {
	r, pw := io.Pipe()
	cmd.Stderr = pw
	var wg sync.WaitGroup
	wg.Go(func() {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			w.line(lines.Text())
		}
		// A line too long must not block the command.
		_, _ = io.Copy(io.Discard, r)
	})
	err := cmd.Run()
	_ = pw.Close()
	wg.Wait()
	return err
}

func (w *watch) line(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if module, ok := strings.CutPrefix(s, "go: downloading "); ok {
		w.event.Phase, w.event.Detail = Downloading, module
		return
	}
	// What the go command counts as stale and what it compiles differ a little.
	if w.stale[s] || !strings.ContainsAny(s, " #:") {
		w.event.Done = min(w.event.Done+1, w.event.Total)
		w.next(s)
		return
	}
	w.last = append(w.last, s)
	if over := len(w.last) - 20; over > 0 {
		w.last = w.last[over:]
	}
}

// output returns the last lines that were neither progress nor empty.
func (w *watch) output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.last, "\n")
}
