package devicetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// Engine is a Docker Engine of the test's own.
type Engine struct {
	// Socket is what DOCKER_HOST takes: unix://….
	Socket string
	// Root is its data directory.
	Root string
	// PID is the daemon's.
	PID int
}

// EngineOptions differ from one engine to another.
type EngineOptions struct {
	// Size is that of its disk; "" for no limit of its own. As tmpfs(5) takes it.
	Size string
	// Namespace it runs in, with a bridge and published ports; nil for none of these.
	Namespace *Netns
}

// Docker starts an engine; it ends with the test.
func Docker(t testing.TB, o EngineOptions) *Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: a real Docker Engine takes a while")
	}
	embeddedtest.Need(t, os.Getuid() == 0, "a Docker Engine of one's own needs root")
	NeedProgram(t, "docker", "docker.io")
	dockerd := NeedProgram(t, "dockerd", "docker.io")
	dir, err := os.MkdirTemp("", "amd") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "data")
	if err := os.Mkdir(root, 0o711); err != nil {
		t.Fatal(err)
	}
	if o.Size != "" {
		run(t, "mount", "-t", "tmpfs", "-o", "size="+o.Size, "tmpfs", root)
	}
	e := &Engine{Socket: "unix://" + filepath.Join(dir, "docker.sock"), Root: root}
	args := []string{
		dockerd, "--data-root", root, "--exec-root", filepath.Join(dir, "exec"), "-H", e.Socket,
		"--pidfile", filepath.Join(dir, "pid"), "--live-restore=false",
	}
	if o.Namespace != nil {
		args = append([]string{"nsenter", "--net=/run/netns/" + o.Namespace.Name}, args...)
	} else {
		args = append(args, "--bridge=none", "--iptables=false", "--ip6tables=false")
	}
	log := &syncBuffer{}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.PID = cmd.Process.Pid
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if o.Size != "" {
			run(t, "umount", "-l", root)
		}
		// The daemon leaves its network namespace mounted.
		_ = exec.Command("umount", "-l", filepath.Join(dir, "exec", "netns", "default")).Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the engine's directory: %v", err)
		}
		if t.Failed() {
			t.Logf("dockerd said:\n%s", tail(log.String(), 4000))
		}
	})
	deadline := time.Now().Add(time.Minute)
	for e.try("version") != nil {
		select {
		case <-ended:
			embeddedtest.Need(t, false, "dockerd does not start here: "+lastWords(log.String()))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("dockerd does not answer: %s", tail(log.String(), 1000))
		}
	}
	return e
}

func (e *Engine) try(args ...string) error {
	return exec.Command("docker", append([]string{"-H", e.Socket}, args...)...).Run()
}

// Run runs the docker command against the engine.
func (e *Engine) Run(t testing.TB, args ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "docker", append([]string{"-H", e.Socket}, args...)...))
}

// Containers are the IDs of all containers, running or not.
func (e *Engine) Containers(t testing.TB) []string {
	t.Helper()
	return strings.Fields(e.Run(t, "ps", "-a", "-q"))
}

// lastWords is the line without a level, with which dockerd ends.
func lastWords(log string) string {
	for line := range strings.SplitSeq(log, "\n") {
		if strings.HasPrefix(line, "failed to start") {
			return line
		}
	}
	return tail(log, 500)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Netns is a network namespace that only this machine reaches, like a device
// on a cable: its loopback is its own.
type Netns struct {
	Name string
	// Outer and Inner are the addresses of this machine and of the device.
	Outer, Inner string
}

// Namespace makes a network namespace; number tells those of one test binary
// apart (1 to 250).
func Namespace(t testing.TB, number int) *Netns {
	t.Helper()
	embeddedtest.Need(t, os.Getuid() == 0, "a network namespace needs root")
	NeedProgram(t, "ip", "iproute2")
	n := &Netns{
		Name:  fmt.Sprintf("am%d-%d", os.Getpid(), number),
		Outer: fmt.Sprintf("198.18.%d.1", number), // RFC 2544: benchmarking, never routed
		Inner: fmt.Sprintf("198.18.%d.2", number),
	}
	out, err := exec.Command("ip", "netns", "add", n.Name).CombinedOutput()
	embeddedtest.Need(t, err == nil, "no network namespaces here: "+string(out))
	t.Cleanup(func() { run(t, "ip", "netns", "del", n.Name) })
	veth := fmt.Sprintf("amv%d", number)
	run(t, "ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", n.Name)
	run(t, "ip", "addr", "add", n.Outer+"/30", "dev", veth)
	run(t, "ip", "link", "set", veth, "up")
	for _, args := range [][]string{{"addr", "add", n.Inner + "/30", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"link", "set", "lo", "up"}} {
		run(t, "ip", append([]string{"-n", n.Name}, args...)...)
	}
	return n
}

// Cut takes the cable out, or plugs it in.
func (n *Netns) Cut(t testing.TB, cut bool) {
	t.Helper()
	state := "up"
	if cut {
		state = "down"
	}
	run(t, "ip", "-n", n.Name, "link", "set", "eth0", state)
}
