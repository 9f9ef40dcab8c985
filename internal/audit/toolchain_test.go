package audit_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// toolchain compiles programs with the compilers of this machine, each once a
// test run.
type toolchain struct {
	dir  string
	mu   sync.Mutex
	done map[string]func() ([]byte, error)
}

func newToolchain(t testing.TB) *toolchain {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":   "module example.com/hello\n\ngo 1.26\n",
		"main.go":  "package main\n\nfunc main() { println(\"hello\") }\n",
		"hello.c":  "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n",
		"bare.c":   "void _start(void) { for (;;) ; }\n",
		"data.c":   "int answer = 42; void _start(void) { for (;;) answer++; }\n",
		"atomic.c": "#include <stdio.h>\nint n; long m;\n__attribute__((noinline)) void bump(int k) { for (int i = 0; i < k; i++) { long e = i; __atomic_fetch_add(&n, i, 5); __atomic_compare_exchange_n(&m, &e, i + 1, 0, 5, 5); __atomic_exchange_n(&n, i, 5); } }\nint main(int c, char **v) { bump(c + 3); puts(\"done\"); return 0; }\n",
		"lib.c":    "int answer(void) { return 42; }\n",
		"math.c":   "int answer(void); int main(void) { return answer(); }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range vectors {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &toolchain{dir: dir, done: map[string]func() ([]byte, error){}}
}

func (c *toolchain) once(key string, make func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	f := c.done[key]
	if f == nil {
		f = sync.OnceValues(make)
		c.done[key] = f
	}
	c.mu.Unlock()
	return f()
}

// Go compiles a Go program for "linux/arm/v6" and the like, with further
// settings such as GOAMD64=v3.
func (c *toolchain) Go(t testing.TB, platform string, settings ...string) []byte {
	t.Helper()
	key := strings.Join(append([]string{platform}, settings...), " ")
	raw, err := c.once(key, func() ([]byte, error) {
		parts := strings.Split(platform, "/")
		env := append([]string{"CGO_ENABLED=0", "GOOS=" + parts[0], "GOARCH=" + parts[1]}, settings...)
		if len(parts) > 2 && parts[1] == "arm" {
			env = append(env, "GOARM="+strings.TrimPrefix(parts[2], "v"))
		}
		out := filepath.Join(c.dir, "go-"+strings.NewReplacer("/", "-", " ", "-", ",", "-", "=", "-").Replace(key))
		cmd := exec.Command("go", "build", "-ldflags=-s -w", "-buildvcs=false", "-o", out, ".")
		cmd.Dir = c.dir
		cmd.Env = append(os.Environ(), env...)
		if said, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build for %s: %w: %s", key, err, said)
		}
		return os.ReadFile(out)
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// C compiles a source file with a compiler such as arm-linux-gnueabi-gcc. A
// machine without it skips the case; in CI it must be there.
func (c *toolchain) C(t testing.TB, compiler, source string, flags ...string) []byte {
	t.Helper()
	_, err := exec.LookPath(compiler)
	embeddedtest.Need(t, err == nil, compiler+" is not installed")
	key := strings.Join(append([]string{compiler, source}, flags...), " ")
	raw, err := c.once(key, func() ([]byte, error) {
		out, err := os.CreateTemp(c.dir, "c-*")
		if err != nil {
			return nil, err
		}
		out.Close()
		args := append([]string{"-o", out.Name(), source}, flags...)
		cmd := exec.Command(compiler, args...)
		cmd.Dir = c.dir
		if said, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", key, err, said)
		}
		return os.ReadFile(out.Name())
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
