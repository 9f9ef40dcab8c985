package tasks_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// TestEmbedded releases on a machine that has nothing but Go: the first run
// starts a worker and a registry, the second uses them, down ends them.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	embeddedtest.Worker(t) // skips where there can be none, and has it compiled
	binary := compiled(t)
	dir, err := os.MkdirTemp("", "am") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	host := freeHost(t)
	text := `target "app" {
  platforms         = ["linux/amd64", "linux/arm64"]
  tags              = ["` + host + `/app:1"]
  dockerfile-inline = "FROM scratch\nCOPY targets.hcl /x"
}
registry "` + host + `" { embedded = true }
`
	if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "XDG_RUNTIME_DIR="+filepath.Join(dir, "run"),
		"BUILDKIT_HOST=", "PATH="+withoutDocker(t))
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (stdout, stderr string) {
		t.Helper()
		cmd := exec.Command(binary, args...) // the test's context ends before its clean-up
		cmd.Dir, cmd.Env = dir, env
		var out, err strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &err
		if e := cmd.Run(); e != nil {
			t.Fatalf("archmage %s: %v\n%s", strings.Join(args, " "), e, err.String())
		}
		return out.String(), err.String()
	}
	t.Cleanup(func() {
		run("down")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})

	first, told := run("release")
	if !strings.Contains(told, "ready worker") || !strings.Contains(told, "ready registry") {
		t.Errorf("the first release does not say what it started:\n%s", told)
	}
	second, told := run("release")
	if first != second || first == "" {
		t.Errorf("two releases, %q and %q", first, second)
	}
	if strings.Contains(told, "starting") {
		t.Errorf("the second release started something:\n%s", told)
	}
	up, _ := run("up")
	pids := daemonPIDs(t, up)
	if len(pids) != 2 {
		t.Fatalf("up shows %d daemons, want 2:\n%s", len(pids), up)
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %d is not there", pid)
		}
	}
	run("down")
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is still there after down", pid)
		}
	}
	if _, told = run("down"); !strings.Contains(told, "nothing of archmage was running") {
		t.Errorf("a second down says %q", told)
	}
	// What was published is kept.
	run("up")
	told, _ = run("inspect", "-json")
	var report struct{ Tree struct{ Digest string } }
	if err := json.Unmarshal([]byte(told), &report); err != nil || report.Tree.Digest == "" || !strings.Contains(first, report.Tree.Digest) {
		t.Errorf("inspect after a restart: %v\n%s", err, told)
	}
}

func daemonPIDs(t *testing.T, table string) []int {
	t.Helper()
	var pids []int
	for line := range strings.Lines(table) {
		for _, f := range strings.Fields(line) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func freeHost(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// withoutDocker is the PATH with only what a release needs: a Docker Engine on
// this machine would be chosen before the embedded worker.
func withoutDocker(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"go", "git", "mount", "umount", "newuidmap", "newgidmap", "sh"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
