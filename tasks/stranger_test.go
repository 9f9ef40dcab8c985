package tasks_test

import (
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
			dir := t.TempDir()
			stranger := filepath.Join(root(t), "testdata", "stranger")
			copyFile(t, filepath.Join(stranger, tc.magefile), filepath.Join(dir, "magefile.go"))
			copyFile(t, filepath.Join(stranger, "targets.hcl"), filepath.Join(dir, "targets.hcl"))
			repo := host + "/stranger-" + tc.name
			env := append(os.Environ(),
				"GOPROXY=file://"+proxy+","+goEnv(t, "GOPROXY"),
				"GONOSUMDB="+modulePath, "GOFLAGS=-mod=mod -modcacherw", "GOWORK=off",
				"BUILDKIT_HOST="+worker.Address, "REPO="+repo,
			)
			run := func(args ...string) string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
				cmd.Dir, cmd.Env = dir, env
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
				}
				return string(out)
			}
			run("go", "mod", "init", "example.com/stranger")
			run("go", "get", "-tool", "github.com/magefile/mage")
			run("go", "get", modulePath+"@"+version)
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
