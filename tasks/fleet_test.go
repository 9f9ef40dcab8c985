package tasks_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

// site is a user's directory with a targets.hcl, and the tasks compiled.
type site struct {
	dir, binary string
	// repo is where its images go: a registry and the name of the test.
	repo string
	env  []string
}

func newSite(t testing.TB, binary, host string) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), binary: binary, repo: host + "/" + strings.ToLower(filepath.Base(t.Name()))}
	busybox, err := os.ReadFile(embeddedtest.Busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "BUILDKIT_PROGRESS=plain", "NO_COLOR=1", "HOME="+s.dir)
	return s
}

// targets writes targets.hcl with a group of all its targets; REPO in it is the
// site's repository.
func (s *site) targets(t testing.TB, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "REPO", s.repo)
	var all []string
	for _, m := range targetBlock.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	text += fmt.Sprintf("\ngroup \"default\" { targets = [%s] }\n", strings.Join(all, ", "))
	if err := os.WriteFile(filepath.Join(s.dir, "targets.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

var targetBlock = regexp.MustCompile(`(?m)^target ("[^"]+")`)

// worker is a worker block.
func workerBlock(name, address string, lines ...string) string {
	return fmt.Sprintf("worker %q {\n  address = %q\n  %s\n}\n", name, address, strings.Join(lines, "\n  "))
}

// sleeping is a target whose build runs `/busybox sleep SECONDS`, by which it
// is found on its worker.
func sleeping(name, seconds string, lines ...string) string {
	return fmt.Sprintf(`target %q {
  tags = ["REPO:%s"]
  no-cache = true
  %s
  dockerfile-inline = <<EOT
FROM scratch AS slow
COPY busybox /busybox
RUN ["/busybox", "sleep", %q]
RUN ["/busybox", "sh", "-c", "echo %s >/done"]
FROM scratch
COPY --from=slow /done /done
EOT
}
`, name, name, strings.Join(lines, "\n  "), seconds, name)
}

// sleeps counts the sleeping steps of a worker.
func sleeps(d *hosttest.Daemon) int { return d.Runs("/busybox", "sleep") }

// session is a task that runs.
type session struct {
	cmd            *exec.Cmd
	stdout, stderr embeddedtest.Output
	ended          chan struct{}
	began          time.Time
	took           time.Duration
}

// said is what the session has told people so far.
func (r *session) said() string { return r.stderr.String() }

func (s *site) start(t testing.TB, args ...string) *session {
	t.Helper()
	r := &session{cmd: exec.Command(s.binary, args...), ended: make(chan struct{}), began: time.Now()}
	r.cmd.Dir, r.cmd.Env = s.dir, s.env
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait() // its code is read when it ended
		r.took = time.Since(r.began)
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
	})
	return r
}

// wait wants the exit code and gives stderr.
func (r *session) wait(t testing.TB, code int) string {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(2 * time.Minute):
		_ = r.cmd.Process.Signal(syscall.SIGKILL)
		<-r.ended
		t.Fatalf("it hangs:\n%s", r.stderr.String())
	}
	text := r.stderr.String()
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("it ended with %d after %s, want %d:\n%s", got, r.took, code, text)
	}
	if strings.Contains(text, "goroutine ") {
		t.Errorf("it printed a stack trace:\n%s", text)
	}
	return text
}

func (s *site) run(t testing.TB, code int, args ...string) string {
	t.Helper()
	return s.start(t, args...).wait(t, code)
}

// until waits for something that a session must come to.
func (r *session) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		select {
		case <-r.ended:
			t.Fatalf("it ended (%s) before %s:\n%s", r.cmd.ProcessState, what, r.stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s within a minute", what)
		}
	}
}

// child is what the record says of a platform.
type child struct {
	Platform, Worker, Digest string
	Native                   bool
	Seconds                  float64
}

// record gives the children of the newest record by target and platform.
func (s *site) record(t testing.TB) map[string]child {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, ".archmage", "releases", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no record: %v", err)
	}
	data, err := os.ReadFile(files[len(files)-1]) // they are named by time
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Targets []struct {
			Name     string
			Children []child
		}
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	out := map[string]child{}
	for _, target := range r.Targets {
		for _, c := range target.Children {
			out[target.Name+" "+c.Platform] = c
		}
	}
	return out
}

// tagged says whether a tag is in the registry.
func (s *site) tagged(t *testing.T, tag string) bool {
	t.Helper()
	host, name, _ := strings.Cut(s.repo, "/")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+host+"/v2/"+name+"/manifests/"+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", ocispecs.MediaTypeImageManifest+", "+ocispecs.MediaTypeImageIndex)
	resp, err := registrytest.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK
}

func wantText(t testing.TB, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
}

// A worker that is killed in mid-solve loses its build to its twin; nothing
// else of the release suffers.
func fleetKilled(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, sleeping("one", "3.01")+sleeping("two", "3.02")+
		workerBlock("a", a.Unix(), "slots = 1")+workerBlock("b", b.Unix(), "slots = 1"))
	r := s.start(t, "release")
	r.until(t, "both workers build", func() bool { return sleeps(a) == 1 && sleeps(b) == 1 })
	b.Kill()
	text := r.wait(t, 0)
	wantText(t, text, "worker b is lost")
	if got := s.record(t); got["one linux/amd64"].Worker != "a" || got["two linux/amd64"].Worker != "a" {
		t.Errorf("who built what: %+v", got)
	}
	if !s.tagged(t, "one") || !s.tagged(t, "two") {
		t.Error("a tag is missing")
	}
}

// A worker that hangs is found out by its heartbeat, and taken back when it
// wakes.
func fleetStopped(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, sleeping("one", "8.01")+sleeping("two", "8.02")+sleeping("three", "2.03")+
		workerBlock("a", a.Unix(), "slots = 2")+workerBlock("b", b.Unix(), "slots = 1"))
	r := s.start(t, "build")
	r.until(t, "both workers build", func() bool { return sleeps(a) > 0 && sleeps(b) > 0 })
	stopped := time.Now()
	b.Stop(t)
	t.Cleanup(func() { b.Continue(t) }) // a stopped process cannot be ended otherwise
	r.until(t, "word of the loss", func() bool { return strings.Contains(r.said(), "worker b is lost") })
	if took := time.Since(stopped); took > 10*time.Second {
		t.Errorf("the loss was found after %s", took)
	}
	b.Continue(t)
	text := r.wait(t, 0)
	wantText(t, text, "no sign of life", "worker b is back")
	if got := s.record(t); len(got) != 3 {
		t.Errorf("who built what: %+v", got)
	}
	// Undisturbed it would be 8 s and what the machine adds.
	if limit := (8 + 12 + 8) * time.Second; r.took > limit {
		t.Errorf("it took %s, more than %s", r.took, limit)
	}
}

// All workers of a platform are lost: words, exit code 7, no tag.
func fleetAllLost(t *testing.T, binary string) {
	t.Parallel()
	a := hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, sleeping("one", "60.01")+workerBlock("a", a.Unix(), "slots = 1"))
	r := s.start(t, "release")
	r.until(t, "the worker builds", func() bool { return sleeps(a) == 1 })
	a.Kill()
	text := r.wait(t, 7)
	wantText(t, text, "no worker for one linux/amd64", "a is gone", "what was built is kept")
	if s.tagged(t, "one") {
		t.Error("a tag was moved")
	}
}

// A failing Dockerfile is not tried elsewhere; the others finish, are
// remembered, and only what failed is built next time.
func fleetFailingBuild(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	failing := `target "bad" {
  tags = ["REPO:bad"]
  dockerfile-inline = <<EOT
FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "echo one more attempt; exit 7"]
EOT
}
`
	workers := workerBlock("a", a.Unix(), "slots = 1") + workerBlock("b", b.Unix(), "slots = 1")
	// targets.hcl changes, and is no part of what is built.
	if err := os.WriteFile(filepath.Join(s.dir, ".dockerignore"), []byte("*\n!busybox\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := strings.Replace(sleeping("good", "1.01"), "no-cache = true", "", 1)
	s.targets(t, failing+good+workers)
	text := s.run(t, 3, "release")
	attempts := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") && strings.HasSuffix(line, " one more attempt\n") {
			attempts++
		}
	}
	if attempts != 1 {
		t.Errorf("%d attempts:\n%s", attempts, text)
	}
	wantText(t, text, "building bad linux/amd64, step ", "  | one more attempt")
	if got := s.record(t); len(got) != 1 || got["good linux/amd64"].Digest == "" {
		t.Errorf("remembered: %+v", got)
	}
	if s.tagged(t, "good") || s.tagged(t, "bad") {
		t.Error("a tag was moved")
	}
	s.targets(t, sleeping("bad", "0")+good+workers)
	text = s.run(t, 0, "release")
	if strings.Contains(text, "[good ") || !s.tagged(t, "good") || !s.tagged(t, "bad") {
		t.Errorf("what was built is built again, or a tag is missing:\n%s", text)
	}
}

// A build that takes its worker down with it is not tried for ever.
func fleetDeadly(t *testing.T, binary string) {
	t.Parallel()
	a := hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, sleeping("one", "60.03")+workerBlock("a", a.Unix()))
	r := s.start(t, "build")
	for range 2 {
		r.until(t, "the worker builds", func() bool { return sleeps(a) == 1 })
		a.Kill()
		a.Run(t)
	}
	text := r.wait(t, 7)
	wantText(t, text, "worker a is back", "no worker for one linux/amd64: a was lost under it", "what the build needs of memory and disk")
}

// The base of a build reaches whichever worker builds on it.
func fleetBaseElsewhere(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, sleeping("base", "0")+`target "app" {
  tags     = ["REPO:app"]
  contexts = { base = "target:base" }
  dockerfile-inline = <<EOT
FROM scratch AS slow
COPY busybox /busybox
COPY --from=base /done /from-base
RUN ["/busybox", "sleep", "3.07"]
FROM base
COPY --from=slow /from-base /from-base
EOT
}
`+workerBlock("a", a.Unix(), "slots = 1")+workerBlock("b", b.Unix(), "slots = 1"))
	r := s.start(t, "release")
	r.until(t, "the child is built", func() bool { return sleeps(a)+sleeps(b) > 0 })
	from, to := "a", "b"
	if sleeps(b) > 0 {
		from, to = to, from
	}
	map[string]*hosttest.Daemon{"a": a, "b": b}[from].Kill()
	r.wait(t, 0)
	// The base is not built again, whoever built it.
	if got := s.record(t); len(got) != 2 || got["app linux/amd64"].Worker != to {
		t.Errorf("who built what after %s was killed: %+v", from, got)
	}
}

// Ctrl-C ends the steps on every worker.
func fleetInterrupt(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{Port: port(t)})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, sleeping("one", "90.01")+sleeping("two", "90.02")+
		workerBlock("a", a.Unix(), "slots = 1")+workerBlock("b", b.TCP, "slots = 1"))
	r := s.start(t, "release")
	running := func() int { return sleeps(a) + sleeps(b) }
	r.until(t, "both workers build", func() bool { return sleeps(a) == 1 && sleeps(b) == 1 })
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	r.wait(t, 130)
	if took := time.Since(asked); took > 5*time.Second {
		t.Errorf("it took %s to end", took)
	}
	embeddedtest.Await(t, "end of the steps", 5*time.Second, func() bool { return running() == 0 })
	if s.tagged(t, "one") || s.tagged(t, "two") {
		t.Error("a tag was moved")
	}
}

// A step that prints what a dying worker would costs nobody else anything: the
// other build of the same worker is made and kept.
func fleetDoomsayer(t *testing.T, binary string) {
	t.Parallel()
	a, b := hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{})
	s := newSite(t, binary, embeddedtest.Registry(t))
	s.targets(t, sleeping("good", "3.04")+sleeping("better", "3.05")+`target "bad" {
  tags = ["REPO:bad"]
  no-cache = true
  dockerfile-inline = <<EOT
FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "echo 'FAIL: write /x: no space left on device: transport is closing'; exit 1"]
EOT
}
`+workerBlock("a", a.Unix())+workerBlock("b", b.Unix()))
	text := s.run(t, 3, "build", "-targets=good,better,bad")
	wantText(t, text, "building bad linux/amd64", "exit code: 1")
	if strings.Contains(text, "is lost") || strings.Contains(text, "moved away") {
		t.Errorf("a worker was given up for it:\n%s", text)
	}
	if got := s.record(t); got["good linux/amd64"].Digest == "" || got["better linux/amd64"].Digest == "" {
		t.Errorf("the record: %+v", got)
	}
}

// TestFleet runs releases over several workers, each a real BuildKit, and takes
// the workers away in every way.
func TestFleet(t *testing.T) {
	t.Parallel()
	binary := compiled(t)
	t.Run("flows", func(t *testing.T) { // so that the binary outlives them
		for name, flow := range map[string]func(*testing.T, string){
			"killed":        fleetKilled,
			"stopped":       fleetStopped,
			"deadly":        fleetDeadly,
			"allLost":       fleetAllLost,
			"failingBuild":  fleetFailingBuild,
			"doomsayer":     fleetDoomsayer,
			"baseElsewhere": fleetBaseElsewhere,
			"interrupt":     fleetInterrupt,
		} {
			t.Run(name, func(t *testing.T) { flow(t, binary) })
		}
	})
}

func port(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
