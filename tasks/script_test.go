package tasks_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	_ "github.com/archmage-build/archmage/tasks" // what is compiled and run here: go test must not take an old result for it
)

func TestMain(m *testing.M) {
	code := embeddedtest.Main(m)
	cleanup()
	os.Exit(code)
}

// TestScripts runs the scripts of testdata/script, each a user's session with
// the compiled tasks, a real BuildKit and a real registry. The first word of a
// line is a command: `archmage` is the compiled magefile, `standalone` the command
// of package archmage.
func TestScripts(t *testing.T) {
	t.Parallel()
	binary, standalone := compiled(t), command(t)
	registry := embeddedtest.Registry(t)
	worker := embeddedtest.Worker(t)
	root := root(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join(root, "testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"archmage": func(ts *testscript.TestScript, neg bool, args []string) {
				archmage(ts, neg, binary, args)
			},
			"standalone": func(ts *testscript.TestScript, neg bool, args []string) {
				archmage(ts, neg, standalone, args)
			},
			"busybox": func(ts *testscript.TestScript, _ bool, args []string) {
				data, err := os.ReadFile(embeddedtest.Busybox(t))
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o755))
			},
			"elf":       elfMachine,
			"gitserver": gitserver,
			"listen":    listen,
			"socket":    socket,
			"full":      full,
			"peers":     peers(t),
			"retag":     retag,
		},
		Condition: func(name string) (bool, error) {
			if prog, ok := strings.CutPrefix(name, "has:"); ok {
				_, err := exec.LookPath(prog)
				if err != nil && os.Getenv("CI") == "true" {
					return false, err
				}
				return err == nil, nil
			}
			if name == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("there is no condition %q", name)
		},
		Setup: func(env *testscript.Env) error {
			for _, k := range []string{"GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GONOSUMDB", "GOFLAGS", "GOSUMDB"} {
				out, err := exec.Command("go", "env", k).Output()
				if err != nil {
					return err
				}
				env.Setenv(k, strings.TrimSpace(string(out)))
			}
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("BUILDKIT_HOST", worker.Address)
			env.Setenv("REGISTRY", registry)
			env.Setenv("ROOT", root)
			// A name of its own for each script, since the registry is shared.
			env.Setenv("REPO", registry+"/"+strings.ToLower(filepath.Base(env.WorkDir)))
			return nil
		},
	})
}

// archmage runs the compiled binary; `-rc=N` as the first argument wants that
// exit code, since a code is part of what a task promises.
func archmage(ts *testscript.TestScript, neg bool, binary string, args []string) {
	want := ""
	if len(args) > 0 && strings.HasPrefix(args[0], "-rc=") {
		want, args = strings.TrimPrefix(args[0], "-rc="), args[1:]
	}
	err := ts.Exec(binary, args...)
	got := "0"
	if ee, ok := err.(*exec.ExitError); ok { //nolint:errorlint // testscript returns it bare
		got = strings.TrimPrefix(ee.String(), "exit status ")
	} else if err != nil {
		ts.Fatalf("running archmage: %v", err)
	}
	switch {
	case want != "" && got != want:
		ts.Fatalf("archmage ended with %s, want %s", got, want)
	case want == "" && (got == "0") == neg:
		ts.Fatalf("archmage ended with %s", got)
	}
	if all := ts.ReadFile("stdout") + ts.ReadFile("stderr"); strings.Contains(all, "goroutine ") || strings.Contains(all, ".go:") {
		ts.Fatalf("archmage printed a stack trace")
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// compiled is the repository's own tasks as one binary, compiled once: mage
// writes a file beside the magefile while it compiles.
func compiled(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "archmage")
	if err != nil {
		return "", err
	}
	cleanup = func() { _ = os.RemoveAll(dir) }
	bin := filepath.Join(dir, "archmage")
	cmd := exec.Command("go", "tool", "mage", "-compile", bin)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the tasks: %w\n%s", err, out)
	}
	return bin, nil
})

// command is the binary of package archmage, as it is shipped.
func command(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "archmage")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./archmage")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling the command: %v\n%s", err, out)
	}
	return bin
}

// cleanup removes what binary made.
var cleanup = func() {}
