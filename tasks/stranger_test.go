package tasks_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

const modulePath = "github.com/archmage-build/archmage"

// TestStranger releases through another repository's magefile, which has the
// tasks from the module cache as everybody else would: what does not travel in
// a module zip is missing there.
func TestStranger(t *testing.T) {
	t.Parallel()
	host, worker := embeddedtest.Registry(t), embeddedtest.Worker(t)
	proxy, version := moduleProxy(t)
	for _, tc := range []struct{ name, magefile, task string }{
		{"root", "magefile.go", "release"},
		{"alias", "alias/magefile.go", "img:release"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStranger(t, tc.magefile, host+"/stranger-"+tc.name, worker.Address, proxy, version)
			repo, run := s.repo, s.run
			list := run("go", "tool", "mage", "-l")
			if !strings.Contains(list, tc.task+" ") {
				t.Errorf("mage -l does not list %s:\n%s", tc.task, list)
			}
			out := run("go", "tool", "mage", tc.task)
			if !strings.Contains(out, repo+":1@sha256:") {
				t.Errorf("the release printed no reference:\n%s", out)
			}
			if !strings.Contains(out, "linux/riscv64") {
				t.Errorf("the release does not name its platforms:\n%s", out)
			}
		})
	}
}

// TestStrangerAPI uses the tasks from another repository's Go code: as
// dependencies, with options, with hooks, elsewhere.
func TestStrangerAPI(t *testing.T) {
	t.Parallel()
	host, worker := embeddedtest.Registry(t), embeddedtest.Worker(t)
	proxy, version := moduleProxy(t)
	s := newStranger(t, "deps/magefile.go", host+"/stranger-deps", worker.Address, proxy, version)
	if err := os.MkdirAll(filepath.Join(s.dir, "services", "job"), 0o700); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(root(t), "testdata", "stranger", "deps", "job.hcl"), filepath.Join(s.dir, "services", "job", "targets.hcl"))
	s.run("go", "tool", "mage", "-compile", "stranger")
	has := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("there is no %q in\n%s", w, out)
			}
		}
	}
	// Three tasks need the release; it is made once. A namespace, and another directory.
	out := s.run("./stranger", "ship")
	has(out, s.repo+":1@sha256:", "shipped")
	if n := strings.Count(out, "released in "); n != 1 {
		t.Errorf("released %d times, want once:\n%s", n, out)
	}
	has(s.run("./stranger", "img:publish"), s.repo+":1@sha256:")
	has(s.run("./stranger", "job"), s.repo+"/job:1@sha256:")
	// The tasks are there under two names, beside the stranger's own.
	has(s.run("./stranger", "-l"), " release ", " oci:release ", " gate ")
	// A gate sees each platform, and says no with its own error.
	out = s.run("./stranger", "gate")
	has(out, "scanned "+s.repo+"@sha256:", " linux/amd64", " linux/riscv64", "hook before-promote passed", "approved "+s.repo+":gate")
	if data, err := os.ReadFile(filepath.Join(s.dir, "kustomization.yaml")); err != nil || !strings.Contains(string(data), "digest: sha256:") {
		t.Errorf("the digests were not written: %v\n%s", err, data)
	}
	s.env = append(s.env, "DENY=1", "DENY_TOKEN=sesame-open")
	out = s.fails(8, "./stranger", "gate")
	has(out, "the hook before-promote failed: denied with *****; no tag has moved", "the cause is errDenied: true")
	s.fails(8, "./stranger", "gateAsDependency")
	// Mistakes of the program.
	has(s.fails(2, "./stranger", "twice"), "A task takes one options struct")
	has(s.fails(2, "./stranger", "nowhere"), "is no directory")
	has(s.fails(2, "./stranger", "misspelt"), `did you mean "before-promote"`)
	// Whoever imports the tasks has the words of the line checked, aliases too.
	has(s.fails(2, "./stranger", "oci:plan", "greeter"), `there is no task "greeter"; nothing was touched`, "write oci:plan -targets=greeter")
	has(s.run("./stranger", "plan", "s"), "shipped")
}

// stranger is another repository, in a directory of its own.
type stranger struct {
	t         *testing.T
	dir, repo string
	env       []string
}

func newStranger(t *testing.T, magefile, repo, worker, proxy, version string) *stranger {
	t.Helper()
	s := &stranger{t: t, dir: t.TempDir(), repo: repo}
	files := filepath.Join(root(t), "testdata", "stranger")
	copyFile(t, filepath.Join(files, magefile), filepath.Join(s.dir, "magefile.go"))
	copyFile(t, filepath.Join(files, "targets.hcl"), filepath.Join(s.dir, "targets.hcl"))
	s.env = append(os.Environ(),
		"GOPROXY=file://"+proxy+","+goEnv(t, "GOPROXY"),
		"GONOSUMDB="+modulePath, "GOFLAGS=-mod=mod -modcacherw", "GOWORK=off",
		"BUILDKIT_HOST="+worker, "REPO="+repo,
	)
	s.run("go", "mod", "init", "example.com/stranger")
	s.run("go", "get", "-tool", "github.com/magefile/mage")
	s.run("go", "get", modulePath+"@"+version)
	return s
}

// run runs a command there, which must go well.
func (s *stranger) run(args ...string) string {
	s.t.Helper()
	return s.fails(0, args...)
}

// fails runs a command there, which must end with a code.
func (s *stranger) fails(code int, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("%s ended with %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// moduleProxy serves this module, as it stands, from a directory. The format
// is https://go.dev/ref/mod#goproxy-protocol. The version is of this run only,
// and is taken out of the user's module cache afterwards: with a cache of its
// own, the test would compile all dependencies anew.
func moduleProxy(t *testing.T) (dir, version string) {
	t.Helper()
	dir = t.TempDir()
	version = fmt.Sprintf("v0.0.0-%s-%012x", time.Now().UTC().Format("20060102150405"), os.Getpid())
	cache := goEnv(t, "GOMODCACHE")
	t.Cleanup(func() {
		left := []string{filepath.Join(cache, filepath.FromSlash(modulePath)+"@"+version)}
		files, _ := filepath.Glob(filepath.Join(cache, "cache", "download", filepath.FromSlash(modulePath), "@v", version+".*"))
		for _, path := range append(left, files...) {
			if err := os.RemoveAll(path); err != nil {
				t.Errorf("cleaning the module cache: %v", err)
			}
		}
	})
	v := filepath.Join(dir, filepath.FromSlash(modulePath), "@v")
	if err := os.MkdirAll(v, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(v, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mod, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	write("list", []byte(version+"\n"))
	write(version+".mod", mod)
	write(version+".info", fmt.Appendf(nil, `{"Version":%q}`, version))
	f, err := os.Create(filepath.Join(v, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := zip.CreateFromDir(f, module.Version{Path: modulePath, Version: version}, root(t)); err != nil {
		t.Fatal(err)
	}
	return dir, version
}

func goEnv(t *testing.T, key string) string {
	t.Helper()
	out, err := exec.Command("go", "env", key).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
