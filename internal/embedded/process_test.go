package embedded

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary play a foreign process that starts another one.
func TestMain(m *testing.M) {
	switch os.Getenv("EMBEDDED_TEST_PLAY") {
	case "parent": // ignores SIGTERM only by way of its child
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{"EMBEDDED_TEST_PLAY=child"}
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			os.Exit(1)
		}
		_ = cmd.Wait()
	case "child":
		_, _ = os.Stdout.WriteString(strconv.Itoa(os.Getpid()) + "\n")
		time.Sleep(time.Minute) // until it is ended
	default:
		os.Exit(m.Run())
	}
}

// play starts the test binary in a role and returns it and the child it names.
func play(t *testing.T, role string) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"EMBEDDED_TEST_PLAY=" + role}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { _ = cmd.Wait(); close(waited) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-waited })
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return cmd, pid
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	cmd, _ := play(t, "child")
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !id.alive() {
		t.Fatalf("%+v runs but is not alive", id)
	}
	for what, other := range map[string]identity{
		"born at another time":   {PID: id.PID, Birth: id.Birth + "0", Exe: id.Exe},
		"another program":        {PID: id.PID, Birth: id.Birth, Exe: "/bin/other"},
		"never born":             {PID: id.PID, Exe: id.Exe},
		"a record without a pid": {},
		"the init process":       {PID: 1, Birth: "x"},
	} {
		if other.alive() {
			t.Errorf("%s: counts as alive", what)
		}
		if err := other.signal(os.Kill); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !id.alive() {
		t.Fatal("a signal for another process ended this one")
	}
	if err := id.signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	if left := gone(t.Context(), 10*time.Second, id); len(left) > 0 {
		t.Errorf("still alive after a kill: %+v", left)
	}
}

func TestEndTakesTheFamily(t *testing.T) {
	t.Parallel()
	cmd, child := play(t, "parent")
	parent, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	kid, err := identify(child)
	if err != nil {
		t.Fatal(err)
	}
	if err := end(t.Context(), parent, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if parent.alive() || kid.alive() {
		t.Errorf("parent alive %t, child alive %t", parent.alive(), kid.alive())
	}
}

func TestStalePidIsNotSignalled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := &Machine{Dirs: Dirs{State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run")}}
	if err := private(m.daemons()); err != nil {
		t.Fatal(err)
	}
	// The pid of a daemon of the last boot now belongs to someone innocent.
	cmd, _ := play(t, "child")
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "stale.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stale := record{
		Daemon: Daemon{Name: "registry 127.0.0.1:1", PID: id.PID}, Sockets: []string{socket},
		Process: identity{PID: id.PID, Birth: "another-boot/" + strings.TrimLeft(id.Birth, "/"), Exe: id.Exe},
	}
	if err := m.save(stale); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.recordFile("torn"), []byte(`{"name":"torn","pid":`), 0o600); err != nil {
		t.Fatal(err)
	}
	running, err := m.Status()
	if err != nil || len(running) > 0 {
		t.Errorf("status %+v, %v; want nothing", running, err)
	}
	ended, err := m.Down(t.Context())
	if err != nil || len(ended) > 0 {
		t.Errorf("down %+v, %v; want nothing", ended, err)
	}
	if !id.alive() {
		t.Error("a process that took over a recorded pid was ended")
	}
	for _, file := range []string{socket, m.recordFile(stale.Name)} {
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s is left", file)
		}
	}
}

func TestLockIsReleasedAndWaitedFor(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x", "lock")
	release, err := lock(t.Context(), file, func() { t.Error("a free lock is waited for") })
	if err != nil {
		t.Fatal(err)
	}
	second, err := lock(t.Context(), file, release)
	if err != nil {
		t.Fatal(err)
	}
	second()
}

func TestLaunchTellsWhyADaemonEnded(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	m := &Machine{Dirs: Dirs{State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run")}}
	if err := private(m.daemons()); err != nil {
		t.Fatal(err)
	}
	_, err := m.start(t.Context(), launch{
		name: "thing", program: "/bin/sh", args: []string{"-c", "echo no permission denied here >&2; exit 3"},
		answers: accepting(false),
		hint:    func(log string) string { return "Saw: " + log },
	})
	if err == nil {
		t.Fatal("a daemon that ended was started")
	}
	for _, want := range []string{"starting thing: exit status 3", "no permission denied here", "Saw: no permission", filepath.Join(m.Dirs.State, "log", "thing.log")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwants %q", err, want)
		}
	}
	if _, err := os.Stat(m.recordFile("thing")); err == nil {
		t.Error("its record is left")
	}
}
