// Package hosttest gives tests BuildKit daemons, each on a machine of its own if
// need be, that can be killed, stopped, cut off and filled up.
package hosttest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
)

// Options differ from one daemon to another. The zero value is a daemon in
// this machine's network that builds this machine's platform.
type Options struct {
	// Host it runs on; nil for this machine.
	Host *sshtest.Host
	// Platforms it says it builds.
	Platforms []string
	// Parallel is how many steps run side by side; 0 for no bound.
	Parallel int
	// Port it listens on, besides its socket: the host's address, or loopback.
	Port int
	// Certificate makes it speak TLS there, to those whom CA has signed.
	Certificate *Certificate
	// Plain are registries spoken to by plain HTTP.
	Plain []string
	// Size is that of its disk, as tmpfs(5) takes it; "" for no bound.
	Size string
}

// Daemon is a BuildKit of the test's own. Its processes die with it, as with a
// machine.
type Daemon struct {
	// Dir holds its socket, configuration, log and state.
	Dir string
	// TCP is its tcp:// address, if it has a port.
	TCP string

	options  Options
	buildctl string
	unshare  *exec.Cmd
	pid      int
	ended    chan struct{}
}

// Start runs a daemon until the test ends. It needs root.
func Start(t testing.TB, o Options) *Daemon {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: real daemons take a while")
	}
	embeddedtest.Need(t, os.Getuid() == 0, "a BuildKit of the test's own needs root")
	_, err := exec.LookPath("unshare")
	embeddedtest.Need(t, err == nil, "no unshare here (Debian's util-linux)")
	// Not testing's TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "amw")
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Dir: dir, options: o, buildctl: embeddedtest.Peer(t, "buildctl")}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.MkdirAll(d.path("root"), 0o711); err != nil {
		t.Fatal(err)
	}
	if o.Size != "" {
		embeddedtest.Run(t, "mount", "-t", "tmpfs", "-o", "size="+o.Size, "tmpfs", d.path("root"))
		t.Cleanup(func() { embeddedtest.Run(t, "umount", "-l", d.path("root")) })
	}
	if o.Port != 0 {
		ip := "127.0.0.1"
		if o.Host != nil {
			ip = o.Host.Inner
		}
		d.TCP = fmt.Sprintf("tcp://%s:%d", ip, o.Port)
	}
	d.configure(t)
	t.Cleanup(func() {
		d.Kill()
		if t.Failed() {
			t.Logf("buildkitd said:\n%s", d.tail())
		}
	})
	d.Run(t)
	return d
}

func (d *Daemon) path(name string) string { return filepath.Join(d.Dir, name) }

// Socket is the path of its socket.
func (d *Daemon) Socket() string { return d.path("b.sock") }

// Unix is the address of its socket.
func (d *Daemon) Unix() string { return "unix://" + d.Socket() }

// configure writes buildkitd.toml.
func (d *Daemon) configure(t testing.TB) {
	t.Helper()
	addresses := []string{strconv.Quote(d.Unix())}
	if d.TCP != "" {
		addresses = append(addresses, strconv.Quote(d.TCP))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "root = %q\n[grpc]\n  address = [%s]\n", d.path("root"), strings.Join(addresses, ", "))
	if c := d.options.Certificate; c != nil {
		fmt.Fprintf(&b, "[grpc.tls]\n  ca = %q\n  cert = %q\n  key = %q\n", c.CA, c.Cert, c.Key)
	}
	fmt.Fprintf(&b, "[otel]\n  socketPath = %q\n[cdi]\n  disabled = true\n", d.path("otel.sock"))
	fmt.Fprintf(&b, "[worker.containerd]\n  enabled = false\n[worker.oci]\n  enabled = true\n  binary = %q\n", part(t, embedded.Runc))
	if d.options.Parallel > 0 {
		fmt.Fprintf(&b, "  max-parallelism = %d\n", d.options.Parallel)
	}
	if len(d.options.Platforms) > 0 {
		var quoted []string
		for _, p := range d.options.Platforms {
			quoted = append(quoted, strconv.Quote(p))
		}
		fmt.Fprintf(&b, "  platforms = [%s]\n", strings.Join(quoted, ", "))
	}
	for _, host := range d.options.Plain {
		fmt.Fprintf(&b, "[registry.%q]\n  http = true\n", host)
	}
	if err := os.WriteFile(d.path("buildkitd.toml"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Run starts the daemon, again after Kill.
func (d *Daemon) Run(t testing.TB) {
	t.Helper()
	var args []string
	if h := d.options.Host; h != nil {
		args = h.Command()
	}
	// In a pid namespace its steps end with it, and in a mount namespace its
	// mounts do.
	args = append(args, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		part(t, embedded.Buildkitd), "--config", d.path("buildkitd.toml"))
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	d.unshare = exec.Command(args[0], args[1:]...)
	d.unshare.Stdout, d.unshare.Stderr = log, log
	d.unshare.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.unshare.Start(); err != nil {
		t.Fatal(err)
	}
	d.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { _ = cmd.Wait(); close(ended) }(d.unshare, d.ended)
	for deadline := time.Now().Add(30 * time.Second); !d.answers(t.Context()); {
		select {
		case <-d.ended:
			embeddedtest.Need(t, false, "BuildKit does not start here: "+d.tail())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("BuildKit does not answer:\n%s", d.tail())
		}
	}
	kids := children(d.unshare.Process.Pid)
	if len(kids) != 1 {
		t.Fatalf("unshare has the children %v, want the daemon", kids)
	}
	d.pid = kids[0]
}

func (d *Daemon) answers(ctx context.Context) bool {
	return exec.CommandContext(ctx, d.buildctl, "--addr", d.Unix(), "--timeout", "2", "debug", "workers").Run() == nil
}

func (d *Daemon) tail() string {
	data, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-3000):])
}

// Kill ends the daemon and its steps at once (SIGKILL).
func (d *Daemon) Kill() {
	if d.pid == 0 { // it never answered
		_ = d.unshare.Process.Kill()
	} else {
		_ = syscall.Kill(d.pid, syscall.SIGKILL) // may be dead already
	}
	<-d.ended // unshare waits for the daemon
}

// Stop freezes the daemon (SIGSTOP): it answers nobody, and its connections
// stand.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.signal(t, syscall.SIGSTOP)
	// The signal begins it; a busy machine takes a while to stop all threads.
	embeddedtest.Await(t, "stop of the daemon", 10*time.Second, func() bool { return stopped(t, d.pid) })
}

// stopped tells whether no thread of a process runs any more (proc(5), state T).
func stopped(t testing.TB, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range threads {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has ended
		}
		if _, state, ok := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " "); !ok || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return len(threads) > 0
}

// Continue wakes it (SIGCONT).
func (d *Daemon) Continue(t testing.TB) { d.signal(t, syscall.SIGCONT) }

func (d *Daemon) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(d.pid, s); err != nil {
		t.Fatal(err)
	}
}

// Runs counts the processes of the daemon's steps whose command line begins
// with args.
func (d *Daemon) Runs(args ...string) int {
	want := []byte(strings.Join(args, "\x00") + "\x00")
	n := 0
	for _, pid := range descendants(d.pid) {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.HasPrefix(line, want) {
			n++
		}
	}
	return n
}

func descendants(pid int) []int {
	var out []int
	for _, c := range children(pid) {
		out = append(append(out, c), descendants(c)...)
	}
	return out
}

func children(pid int) []int {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that ended meanwhile
		}
		for _, field := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(field); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
