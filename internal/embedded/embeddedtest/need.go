package embeddedtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Need skips the test for want of what reason names, except in CI, where all
// must be there.
func Need(t testing.TB, ok bool, reason string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") == "true":
		t.Fatal("CI must have what this test needs: " + reason)
	default:
		t.Skip(reason)
	}
}

// Program finds a program of a Debian package, as Need does.
func Program(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	Need(t, err == nil, "no "+name+" here (Debian's "+pkg+")")
	return path
}

// Peer is the path of a tool of .peers/go.mod, compiled into Go's cache where
// it is not there.
func Peer(t testing.TB, name string) string {
	t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "tool", "-modfile=.peers/go.mod", "-n", name)
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(mod)))
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("compiling %s: %v", name, err)
	}
	return strings.TrimSpace(string(path))
}
