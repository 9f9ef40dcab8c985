package release

import (
	"github.com/archmage-build/archmage/internal/journal"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/archmage-build/archmage/internal/ui"
)

func workspaceAt(t *testing.T, dir string) *Workspace {
	t.Helper()
	w, err := Open(dir, &ui.Streams{Out: ui.NewStream(io.Discard, ui.Traits{}), Err: ui.NewStream(io.Discard, ui.Traits{})}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A workspace keeps its name; no other has the same, nor has a copy of it.
func TestTenant(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := workspaceAt(t, dir)
	one := w.tenant()
	two := workspaceAt(t, dir).tenant()
	if one.owner != two.owner || one.run == two.run {
		t.Errorf("two runs of a workspace are %s %s and %s %s", one.owner, one.run, two.owner, two.run)
	}
	if got := one.live(); !slices.Equal(got, []string{two.run}) {
		t.Errorf("beside the first run there are %q, want the second, %s", got, two.run)
	}
	if info, err := os.Stat(w.path("id")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the id: %v, %v", info, err)
	}
	if left, err := filepath.Glob(w.path(".tmp-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}

	// Copied elsewhere, and copied away and back as a CI service's cache does.
	seen := []string{one.owner, workspaceAt(t, t.TempDir()).tenant().owner}
	elsewhere := t.TempDir()
	for _, step := range []struct{ from, to, work string }{{dir, elsewhere, elsewhere}, {elsewhere, dir, dir}} {
		if err := os.RemoveAll(filepath.Join(step.to, journal.Dir)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", filepath.Join(step.from, journal.Dir), step.to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		owner := workspaceAt(t, step.work).tenant().owner
		if slices.Contains(seen, owner) {
			t.Errorf("the copy in %s has the name of another", step.work)
		}
		seen = append(seen, owner)
	}

	// What cannot be read is made again.
	for _, damage := range []string{"", "x", "zz\n"} {
		if err := os.WriteFile(w.path("id"), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, b := w.tenant(), w.tenant(); a.owner != b.owner {
			t.Errorf("after %q the workspace does not keep its name", damage)
		}
	}
}

// Of many that make an id at once, all get the same.
func TestWorkspaceIDAtOnce(t *testing.T) {
	t.Parallel()
	for range 50 {
		path := filepath.Join(t.TempDir(), "id")
		ids := make([]string, 8)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				var err error
				if ids[i], err = workspaceID(path); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(slices.Compact(ids)) != 1 {
			t.Fatalf("ids %q", ids)
		}
	}
}

// A run that ended, however it did, is not live, and its file goes.
func TestLiveRuns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "runs")
	own, held, err := beginRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, second, err := beginRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := liveRuns(dir, own); !slices.Equal(got, []string{other}) {
		t.Errorf("live: %q, want %s", got, other)
	}
	if err := second.Close(); err != nil { // as the kernel does
		t.Fatal(err)
	}
	for range 2 {
		if got := liveRuns(dir, own); len(got) > 0 {
			t.Errorf("live: %q", got)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 || files[0].Name() != own || !held.Locked() {
		t.Errorf("files %v, %v", files, err)
	}
}

// Where nothing can be written, a run has a name of its own all the same.
func TestTenantWithoutState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, journal.Dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := workspaceAt(t, dir).tenant(), workspaceAt(t, dir).tenant()
	if a.owner == b.owner || a.owner == "" || a.run == "" || len(a.live()) > 0 {
		t.Errorf("%+v, %+v", a, b)
	}
}
