package main

import (
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// maxSize is how large the stripped command may be, in bytes.
const maxSize = 45 << 20

var cross = flag.Bool("cross", false, "compile the command for all platforms")

// TestCross compiles the command as it is shipped, for one architecture of each
// system, or all with -cross, without cgo: each is one file that needs nothing else.
func TestCross(t *testing.T) {
	t.Parallel()
	if !*cross && os.Getenv("CI") != "true" {
		t.Skip("compiles everything three times in CI, and six times with -cross")
	}
	platforms := []string{"linux/amd64", "darwin/arm64", "windows/amd64"}
	if *cross {
		platforms = append(platforms, "linux/arm64", "darwin/amd64", "windows/arm64")
	}
	dir := t.TempDir()
	for _, platform := range platforms {
		goos, goarch, _ := strings.Cut(platform, "/")
		bin := filepath.Join(dir, goos+"-"+goarch)
		// One after the other: each takes all processors.
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", platform, err, out)
			continue
		}
		info, err := os.Stat(bin)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > maxSize {
			t.Errorf("%s: %d bytes, more than %d", platform, info.Size(), maxSize)
		}
		t.Logf("%s: %.1f MB", platform, float64(info.Size())/1e6)
		switch needs, err := libraries(goos, bin); {
		case err != nil:
			t.Errorf("%s: %v", platform, err)
		case goos == "linux" && len(needs) > 0:
			t.Errorf("%s: needs %v", platform, needs)
		case goos == "darwin" && slices.ContainsFunc(needs, func(l string) bool { return !strings.HasPrefix(l, "/usr/lib/") && !strings.HasPrefix(l, "/System/") }):
			t.Errorf("%s: needs %v, more than the system has", platform, needs)
		}
		if platform == runtime.GOOS+"/"+runtime.GOARCH {
			out, err := exec.CommandContext(t.Context(), bin, "--version").Output()
			if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), platform) {
				t.Errorf("%s: %v: %q", platform, err, out)
			}
		}
	}
}

// libraries are those that a binary loads.
func libraries(goos, path string) ([]string, error) {
	switch goos {
	case "darwin":
		f, err := macho.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return f.ImportedLibraries()
	case "windows":
		f, err := pe.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return f.ImportedLibraries()
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ImportedLibraries()
}
