package archtest_test

import (
	"slices"
	"strings"
	"testing"
)

// layers are the components from the top to the bottom. A
// component imports only what stands below its own layer. A component may be
// listed before it exists; one that exists must be listed.
var layers = [][]string{
	{"magefile"},
	{"tasks", "devtools"}, // serves the magefile alone
	{"release"},
	{"build", "index", "audit", "smoke"},
	{"reach"},
	{"worker", "registry", "device", "inputs", "rootfs"},
	{"plan", "journal"},
	{"config"},
	{"openssh"},
	{"credential", "embedded", "sign", "ui", "view", "archtest", "docs"},
	{"oci"}, // what all see alike
}

// owners are the only components that import a library outside tests.
var owners = map[string][]string{
	"github.com/magefile/mage":                {"magefile", "tasks"},
	"github.com/spf13/cobra":                  {"tasks"},
	"github.com/moby/buildkit":                {"worker", "build", "inputs"},
	"github.com/google/go-containerregistry":  {"registry", "index", "audit"},
	"github.com/fatih/color":                  {"ui"},
	"github.com/distribution/distribution/v3": {"embedded"},
	"github.com/sigstore/sigstore":            {"sign"},
}

func layer(component string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, component) })
}

// violations returns what is wrong with the imports of p.
func violations(p pkg) []string {
	var wrong []string
	from := component(p.ImportPath)
	if layer(from) < 0 {
		wrong = append(wrong, p.ImportPath+" is in no layer: add "+from+" to the layers, or move the code")
	}
	for _, path := range p.Imports {
		to := component(path)
		switch {
		case to == "":
			if lib := library(path); lib != "" && !slices.Contains(owners[lib], from) {
				wrong = append(wrong, p.ImportPath+" imports "+path+", which is for "+strings.Join(owners[lib], ", ")+" alone")
			}
		case to != from && layer(to) <= layer(from):
			wrong = append(wrong, p.ImportPath+" imports "+path+", which does not stand below it")
		}
	}
	return wrong
}

// library returns the key of owners that path lies in, or "".
func library(path string) string {
	var paths []string
	for p := range owners {
		paths = append(paths, p)
	}
	return moduleOf(path, paths)
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		for _, v := range violations(p) {
			t.Error(v)
		}
	}
}

// The rules themselves find what they must.
func TestViolations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from, imports string
		fine          bool
	}{
		{"", module + "/tasks", true},
		{"/tasks", module + "/internal/release", true},
		{"/tasks", "github.com/magefile/mage/mg", true},
		{"/internal/release", "github.com/magefile/mage/mg", false},
		{"/internal/release", module + "/internal/build", true},
		{"/internal/release", module + "/internal/config", true},
		{"/internal/build", module + "/internal/index", false},
		{"/internal/build", module + "/internal/build/cache", true},
		{"/internal/config", module + "/internal/plan", false},
		{"/internal/config", module + "/internal/ui", true},
		{"/internal/ui", module + "/internal/config", false},
		{"/internal/embedded", module + "/internal/ui", false},
		{"/internal/worker", module + "/tasks", false},
		{"/internal/worker/dial", "github.com/moby/buildkit/client", true},
		{"/internal/registry", "github.com/moby/buildkit/client", false},
		{"/internal/registry", "github.com/google/go-containerregistry/pkg/v1", true},
		{"/internal/build", "github.com/google/go-containerregistry/pkg/v1", false},
		{"/internal/build", "github.com/fatih/color", false},
		{"/internal/build", "fmt", true},
		{"/internal/helpers", "fmt", false},
	}
	for _, tt := range tests {
		got := violations(pkg{ImportPath: module + tt.from, Imports: []string{tt.imports}})
		if (len(got) == 0) != tt.fine {
			t.Errorf("%q importing %q: violations = %q, want none: %t", tt.from, tt.imports, got, tt.fine)
		}
	}
}
