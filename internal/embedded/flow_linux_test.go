package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// machine returns a machine with state of its own and the user's own parts.
func machine(t *testing.T) *embedded.Machine {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: real daemons take a while")
	}
	m, err := embedded.New(os.Environ(), func(e embedded.Event) { t.Log(e.Elapsed.Round(time.Millisecond), e) })
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "archmage")
	if err != nil {
		t.Fatal(err)
	}
	m.Dirs.State, m.Dirs.Run = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	t.Cleanup(func() {
		if _, err := m.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := embeddedtest.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return m
}

// tool compiles a static program that prints its arguments and then, if they
// say so, waits.
func tool(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	const program = `package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	fmt.Println(os.Args)
	if os.Args[1] == "wait" {
		time.Sleep(time.Hour)
	}
}
`
	if err := os.WriteFile(src, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	cmd := exec.Command("go", "build", "-o", filepath.Join(bin, "archmage-tool"), src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// run builds an image of the tool, runs it with args on the worker and pushes
// the result to ref, if any.
func run(ctx context.Context, m *embedded.Machine, address, bin, ref string, args ...string) error {
	c, err := client.New(ctx, address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	files, err := fsutil.NewFS(bin)
	if err != nil {
		return err
	}
	state := llb.Scratch().File(llb.Copy(llb.Local("bin"), "archmage-tool", "/archmage-tool"))
	if strings.HasPrefix(ref, "FROM ") {
		state, ref = llb.Image(strings.TrimPrefix(ref, "FROM ")), ""
	}
	state = state.Run(llb.Args(append([]string{"/archmage-tool"}, args...)), llb.IgnoreCache).Root()
	def, err := state.Marshal(ctx)
	if err != nil {
		return err
	}
	opt := client.SolveOpt{LocalMounts: map[string]fsutil.FS{"bin": files}}
	if ref != "" {
		opt.Session = []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
			AuthConfigProvider: func(_ context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
				user, password, _, _ := m.RegistryLogin(host)
				return types.AuthConfig{Username: user, Password: password}, nil
			},
		})}
		opt.Exports = []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": ref, "push": "true"}}}
	}
	var said strings.Builder
	status := make(chan *client.SolveStatus)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := range status {
			for _, l := range s.Logs {
				said.Write(l.Data)
			}
		}
	}()
	_, err = c.Solve(ctx, def, opt, status)
	<-read
	if err != nil {
		return fmt.Errorf("%w; it said:\n%s", err, said.String())
	}
	return nil
}

// processes returns the ids of processes whose command line has all of parts.
func processes(t *testing.T, parts ...string) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
next:
	for _, name := range dirs {
		line, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, part := range parts {
			if !strings.Contains(string(line), part) {
				continue next
			}
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// await waits until ok, for a bounded time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 30 s", what)
		}
	}
}

// nothingLeft checks that no process and no mount of the machine remains.
func nothingLeft(t *testing.T, m *embedded.Machine, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		// One that the kernel is ending still shows for a moment.
		await(t, fmt.Sprintf("end of process %d", pid), func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
	if left := processes(t, m.Dirs.State); len(left) > 0 {
		t.Errorf("processes %v that name %s are left", left, m.Dirs.State)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), m.Dirs.State) {
		t.Errorf("mounts below %s are left", m.Dirs.State)
	}
	if sockets, err := filepath.Glob(filepath.Join(m.Dirs.Run, "*.sock")); err != nil || len(sockets) > 0 {
		t.Errorf("sockets %q are left (%v)", sockets, err)
	}
	if running, err := m.Status(); err != nil || len(running) > 0 {
		t.Errorf("status %+v, %v; want nothing", running, err)
	}
}

func TestWorkerAndRegistry(t *testing.T) {
	t.Parallel()
	m := machine(t)
	port := freePort(t)
	host := "localhost:" + port

	// Two tasks that begin at once get the same daemons.
	var mu sync.Mutex
	pids := map[int]int{}
	var fresh int
	var worker, registry embedded.Daemon
	g, ctx := errgroup.WithContext(t.Context())
	for range 2 {
		g.Go(func() error {
			w, err := m.StartWorker(ctx)
			if err != nil {
				return err
			}
			r, err := m.StartRegistry(ctx, host)
			mu.Lock()
			defer mu.Unlock()
			worker, registry = w, r
			for _, d := range []embedded.Daemon{w, r} {
				pids[d.PID]++
				if !d.Reused {
					fresh++
				}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(pids) != 2 || fresh != 2 {
		t.Fatalf("two starts of two daemons gave processes %v, %d of them new", pids, fresh)
	}

	// The same registry under both its names, for push and pull.
	bin := tool(t)
	if err := run(t.Context(), m, worker.Address, bin, host+"/tool:1", "hello"); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), m, worker.Address, bin, "FROM 127.0.0.1:"+port+"/tool:1", "again"); err != nil {
		t.Fatal(err)
	}

	for _, dir := range []string{m.Dirs.State, m.Dirs.Run} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want it closed to others", dir, info, err)
		}
	}
	running, err := m.Status()
	if err != nil || len(running) != 2 {
		t.Fatalf("status %+v, %v; want two daemons", running, err)
	}
	for _, d := range running {
		onlyLoopback(t, d.PID)
	}

	ended, err := m.Down(t.Context())
	if err != nil || len(ended) != 2 {
		t.Errorf("down %+v, %v; want two daemons", ended, err)
	}
	nothingLeft(t, m, worker.PID, registry.PID)

	// The data outlives the daemons.
	again, err := m.StartRegistry(t.Context(), "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	if again.Reused || again.PID == registry.PID {
		t.Errorf("%+v after Down", again)
	}
	resp, err := http.Get("http://" + again.Address + "/v2/tool/tags/list")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if tags, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(tags), `"1"`) {
		t.Errorf("tags after a restart: %s, %v", tags, err)
	}
}

func TestDownEndsWhatRuns(t *testing.T) {
	t.Parallel()
	bin := tool(t)
	for name, sig := range map[string]syscall.Signal{"asked": 0, "after the worker was killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			m := machine(t)
			worker, err := m.StartWorker(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mark := "archmage-" + strconv.Itoa(worker.PID)
			solved := make(chan error, 1)
			go func() { solved <- run(t.Context(), m, worker.Address, bin, "", "wait", mark) }()
			in := func() []int { return processes(t, "/archmage-tool", "wait", mark) }
			await(t, "container", func() bool {
				select {
				case err := <-solved:
					t.Fatal("the build ended:", err)
				default:
				}
				return len(in()) > 0
			})
			container := in()
			if sig != 0 {
				if err := syscall.Kill(worker.PID, sig); err != nil {
					t.Fatal(err)
				}
				await(t, "end of the worker", func() bool {
					running, err := m.Status()
					return err == nil && len(running) == 0
				})
			}
			if _, err := m.Down(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-solved; err == nil {
				t.Error("a build that never ends succeeded")
			}
			nothingLeft(t, m, append(container, worker.PID)...)

			// What was killed does not keep the next one from starting.
			if sig != 0 {
				if _, err := m.StartWorker(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestStartStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	m := machine(t)
	if _, err := m.Part(t.Context(), embedded.Registry); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the user pressed Ctrl-C")
	report := m.Report
	m.Report = func(e embedded.Event) {
		report(e)
		if e.Phase == embedded.Starting {
			cancel(stop)
		}
	}
	if d, err := m.StartRegistry(ctx, "localhost:"+freePort(t)); !errors.Is(err, stop) {
		t.Fatalf("%+v, %v; want it cancelled", d, err)
	}
	nothingLeft(t, m)
}

// TestRootless runs the tests above as an ordinary user.
func TestRootless(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is already an ordinary user; the other tests run rootless")
	}
	m := machine(t)
	_, err := exec.LookPath("newuidmap")
	embeddedtest.Need(t, err == nil, "newuidmap is missing (apt-get install uidmap)")
	who := subordinate(t)
	embeddedtest.Need(t, who != nil, "no user of /etc/subuid to become (useradd -m someone)")

	dir, err := os.MkdirTemp("", "rootless")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// The user's cache gets the parts that root's holds, to save minutes.
	cache := filepath.Join(dir, ".cache", "archmage", "parts")
	for _, p := range []embedded.Part{embedded.Buildkitd, embedded.Runc, embedded.Rootlesskit, embedded.Registry} {
		program, err := m.Part(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(filepath.Join(m.Dirs.Cache, "parts"), program)
		if err != nil {
			t.Fatal(err)
		}
		copyFile(t, program, filepath.Join(cache, rel))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, filepath.Join(dir, "embedded.test"))
	if out, err := exec.Command("chown", "-R", who.Uid+":"+who.Gid, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	uid, _ := strconv.ParseUint(who.Uid, 10, 32)
	gid, _ := strconv.ParseUint(who.Gid, 10, 32)
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "embedded.test"), "-test.v", "-test.run=^Test(WorkerAndRegistry|DownEndsWhatRuns|StartStopsWhenCancelled)$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "USER=" + who.Username, "CI=" + os.Getenv("CI"), "GOFLAGS=" + os.Getenv("GOFLAGS")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	out, err := cmd.CombinedOutput()
	t.Logf("as %s:\n%s", who.Username, out)
	if err != nil || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("as %s: %v", who.Username, err)
	}
}

// subordinate returns an ordinary user who may map ids, or nil.
func subordinate(t *testing.T) *user.User {
	t.Helper()
	data, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, ":")
		if who, err := user.Lookup(name); err == nil && who.Uid != "0" {
			return who
		}
	}
	return nil
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o700); err != nil {
		t.Fatal(err)
	}
}
