package devicetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/openssh/sshtest"
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
	// Host it runs on, with a bridge and published ports; nil for this machine
	// and none of these.
	Host *sshtest.Host
}

// Docker starts an engine; it ends with the test.
func Docker(t testing.TB, o EngineOptions) *Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: a real Docker Engine takes a while")
	}
	embeddedtest.Need(t, os.Getuid() == 0, "a Docker Engine of one's own needs root")
	embeddedtest.Program(t, "docker", "docker.io")
	dockerd := embeddedtest.Program(t, "dockerd", "docker.io")
	dir, err := os.MkdirTemp("", "amd") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "data")
	if err := os.Mkdir(root, 0o711); err != nil {
		t.Fatal(err)
	}
	if o.Size != "" {
		embeddedtest.Run(t, "mount", "-t", "tmpfs", "-o", "size="+o.Size, "tmpfs", root)
	}
	e := &Engine{Socket: "unix://" + filepath.Join(dir, "docker.sock"), Root: root}
	args := []string{
		dockerd, "--data-root", root, "--exec-root", filepath.Join(dir, "exec"), "-H", e.Socket,
		"--pidfile", filepath.Join(dir, "pid"), "--live-restore=false",
	}
	if o.Host != nil {
		args = append(o.Host.Enter(), args...)
	} else {
		args = append(args, "--bridge=none", "--iptables=false", "--ip6tables=false")
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	said := func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
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
			embeddedtest.Run(t, "umount", "-l", root)
		}
		// The daemon leaves its network namespace mounted.
		_ = exec.Command("umount", "-l", filepath.Join(dir, "exec", "netns", "default")).Run()
		if t.Failed() {
			t.Logf("dockerd said:\n%s", tail(said(), 4000))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the engine's directory: %v", err)
		}
	})
	deadline := time.Now().Add(time.Minute)
	for e.try("version") != nil {
		select {
		case <-ended:
			embeddedtest.Need(t, false, "dockerd does not start here: "+lastWords(said()))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("dockerd does not answer: %s", tail(said(), 1000))
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
	return strings.TrimSpace(embeddedtest.Run(t, "docker", append([]string{"-H", e.Socket}, args...)...))
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
