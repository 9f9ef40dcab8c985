package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

const (
	module = "github.com/archmage-build/archmage"
	root   = "../.."
)

// pkg is what these tests use of a package that go list prints.
type pkg struct {
	ImportPath, Name, Doc              string
	Imports, TestImports, XTestImports []string
}

// list returns the packages of the module, the magefile's own included.
func list(t *testing.T) []pkg {
	t.Helper()
	packages, err := listOnce()
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

var listOnce = sync.OnceValues(func() ([]pkg, error) {
	// -e, as a package that does not compile is the compiler's to report.
	out, err := run("go", "list", "-e", "-tags=mage", "-json=ImportPath,Name,Doc,Imports,TestImports,XTestImports", "./...")
	if err != nil {
		return nil, err
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
})

// run returns what a command prints when run at the root of the repository.
func run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", errors.New(strings.Join(cmd.Args, " ") + ": " + string(exit.Stderr))
	}
	return string(out), err
}

// component names the component that an import path of ours belongs to:
// "build" for internal/build and all below it, "tasks", "magefile" for the
// root. It is "" for what is not ours.
func component(path string) string {
	if path == module {
		return "magefile"
	}
	rest, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return ""
	}
	rest = strings.TrimPrefix(rest, "internal/")
	first, _, _ := strings.Cut(rest, "/")
	return first
}

// moduleOf returns the longest of modules that path lies in, or "".
func moduleOf(path string, modules []string) string {
	found := ""
	for _, m := range modules {
		if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(found) {
			found = m
		}
	}
	return found
}

func TestModuleOf(t *testing.T) {
	t.Parallel()
	modules := []string{"example.com/a", "example.com/a/v2", "example.com/ab"}
	for path, want := range map[string]string{
		"example.com/a":       "example.com/a",
		"example.com/a/x":     "example.com/a",
		"example.com/a/v2/x":  "example.com/a/v2",
		"example.com/ab/x":    "example.com/ab",
		"example.com/abc":     "",
		"fmt":                 "",
		"example.com/a/v2old": "example.com/a",
	} {
		if got := moduleOf(path, modules); got != want {
			t.Errorf("moduleOf(%q) = %q, want %q", path, got, want)
		}
	}
}
