package embedded

import (
	"bytes"
	"context"
	"errors"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRecipes(t *testing.T) {
	t.Parallel()
	keys := map[string]Part{}
	for p := range recipes {
		r, err := p.recipe()
		if err != nil {
			t.Fatal(err)
		}
		files, err := r.sources()
		if err != nil {
			t.Fatal(err)
		}
		if len(files["go.mod"]) == 0 || len(files["go.sum"]) == 0 {
			t.Errorf("%s: its module is empty", p)
		}
		// Without libseccomp both sides must do without, with it neither.
		with := r
		with.seccomp = !r.seccomp
		if other, err := with.key(); err != nil || (p == Buildkitd) != !bytes.Equal(files["go.mod"], mustSources(t, with)["go.mod"]) {
			t.Errorf("%s: seccomp does not choose its sources: %q, %v", p, other, err)
		}
		key, err := r.key()
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := keys[key]; ok {
			t.Errorf("%s and %s have the same key", p, other)
		}
		keys[key] = p
		r.ldflags += " -X main.x=y"
		if changed, err := r.key(); err != nil || changed == key {
			t.Errorf("%s: other flags, same key (%v)", p, err)
		}
	}
	if mod, err := modules.ReadFile("parts/buildkit.mod"); err != nil || !bytes.Contains(mod, []byte("github.com/moby/buildkit "+BuildKitVersion)) {
		t.Errorf("parts/buildkit.mod does not pin buildkit %s (%v)", BuildKitVersion, err)
	}
}

func TestEmbeddedSourceIsFormatted(t *testing.T) {
	t.Parallel()
	src, err := modules.ReadFile("parts/registry.go")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := format.Source(src); err != nil || !bytes.Equal(got, src) {
		t.Errorf("parts/registry.go wants gofmt (%v)", err)
	}
	// Without the tag, tidying this repository would make it require all that
	// the registry requires.
	if !bytes.HasPrefix(src, []byte("//go:build ignore\n")) {
		t.Error("parts/registry.go is not ignored by the module that embeds it")
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	m := &Machine{Dirs: Dirs{Cache: t.TempDir()}, Environ: append(os.Environ(), "GOPROXY=off", "GOMODCACHE="+t.TempDir())}
	_, err := m.Part(t.Context(), Registry)
	var ce *CompileError
	if !errors.As(err, &ce) {
		t.Fatalf("without modules: %v", err)
	}
	if !strings.Contains(ce.Output, "module lookup disabled") || ce.Remedy != offline {
		t.Errorf("without modules: %v", err)
	}
	if _, err := m.Part(t.Context(), "none"); err == nil {
		t.Error("an unknown part is found")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Part(ctx, Registry); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(m.Dirs.Cache, "parts", "*", "bin", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("failed compilations left %q (%v)", left, err)
	}
}

func TestRemedy(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{
		"x.go: write /tmp/x: no space left on device":                                       "disk is full",
		"nsexec.c:1:10: fatal error: stdlib.h: No such file or directory":                   "libc6-dev",
		`Get "https://proxy.golang.org/x": dial tcp: lookup proxy.golang.org: no such host`: "GOPROXY",
		"go: go.mod requires go >= 1.26.8 (running go 1.25.0; GOTOOLCHAIN=local)":           "GOTOOLCHAIN=auto",
		"verifying x@v1: checksum mismatch":                                                 "go clean -modcache",
		"github.com/x: /usr/local/go/pkg/tool/linux_amd64/compile: signal: killed":          "memory",
		"something nobody has seen":                                                         "declare a worker",
	} {
		if got := remedy(output); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", output, got, want)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWatch(&Machine{}, Runc, time.Now())
	defer w.stop()
	w.line("go: downloading golang.org/x/sys v0.48.0")
	if got, want := w.event.String(), "downloading runc: golang.org/x/sys v0.48.0"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.expect([]string{"a/b", "c.d/e", "main"})
	w.line("a/b")
	if got, want := w.event.String(), "compiling runc: 1 of 3 packages, a/b"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.line("c.d/e")
	if got, want := w.event.String(), "linking runc"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.line("# c.d/e")
	w.line("c.d/e/x.go:1:1: syntax error")
	if got, want := w.output(), "# c.d/e\nc.d/e/x.go:1:1: syntax error"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func mustSources(t *testing.T, r recipe) map[string][]byte {
	t.Helper()
	files, err := r.sources()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A program in the cache runs only if nobody else can have put it there.
func TestPartOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	m := &Machine{Dirs: Dirs{Cache: filepath.Join(t.TempDir(), "archmage")}}
	program, err := m.path(Registry)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Dir(program)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Part(t.Context(), Registry); err != nil || got != program {
		t.Errorf("one's own: %q, %v", got, err)
	}
	if info, err := os.Stat(bin); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its directory stays open: %v, %v", info, err)
	}
	for _, path := range []string{program, bin, filepath.Dir(bin), filepath.Dir(filepath.Dir(bin)), m.Dirs.Cache} {
		if err := os.Lchown(path, 1, 1); err != nil {
			t.Fatal(err)
		}
		if got, err := m.Part(t.Context(), Registry); err == nil || !strings.Contains(err.Error(), "belongs to uid 1") {
			t.Errorf("%s of uid 1: %q, %v", path, got, err)
		}
		if err := os.Lchown(path, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/true", program); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Part(t.Context(), Registry); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a link: %q, %v", got, err)
	}
}
