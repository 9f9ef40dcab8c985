package hosttest

import (
	"os"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// part is a program of the embedded worker.
func part(t testing.TB, p embedded.Part) string {
	t.Helper()
	m, err := embedded.New(os.Environ(), nil)
	if err != nil {
		t.Fatal(err)
	}
	path, err := m.Part(t.Context(), p)
	if err != nil {
		embeddedtest.Need(t, false, "no "+string(p)+" on this machine: "+err.Error())
	}
	return path
}
