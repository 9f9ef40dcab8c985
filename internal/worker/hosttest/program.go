package hosttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// part is a program of the embedded worker.
func part(t testing.TB, p embedded.Part) string {
	t.Helper()
	m, err := embedded.New(os.Environ(), nil) //nolint:forbidigo // a test's edge
	if err != nil {
		t.Fatal(err)
	}
	path, err := m.Part(t.Context(), p)
	if err != nil {
		embeddedtest.Need(t, false, "no "+string(p)+" on this machine: "+err.Error())
	}
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
