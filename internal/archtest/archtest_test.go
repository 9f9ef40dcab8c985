package archtest_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is how long a file may be before it must be divided.
const maxLines = 500

// Each package says in a comment what it is for.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		// The magefile's comment is the heading of mage -l, so it is free.
		if p.Name == "main" && p.Doc != "" || strings.HasPrefix(p.Doc, "Package "+p.Name+" ") {
			continue
		}
		t.Errorf("%s: the package comment is %q, want \"Package %s …\"", p.ImportPath, p.Doc, p.Name)
	}
}

// A name that says nothing gathers what belongs together with nothing.
func TestPackageNames(t *testing.T) {
	t.Parallel()
	empty := []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "lib"}
	for _, p := range list(t) {
		for element := range strings.SplitSeq(p.ImportPath, "/") {
			if slices.Contains(empty, element) {
				t.Errorf("%s: the name %s does not say what the package is for", p.ImportPath, element)
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	t.Parallel()
	permitted := []string{
		"magefile.go", "tasks", "targets.hcl", "internal", "go.mod", "go.sum",
		"testdata", "docs", "README.md", "CONTRIBUTING.md", "LICENSE",
		// Ignored by git: a compiled mage, and what mage writes while it compiles.
		"bin", "mage_output_file.go",
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(permitted, name) {
			t.Errorf("%s does not belong at the top level", name)
		}
	}
}

func TestFileLength(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || d.Name() == "mage_output_file.go":
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		files++
		if lines := bytes.Count(source, []byte("\n")); lines > maxLines && !ast.IsGenerated(file) {
			t.Errorf("%s has %d lines, more than %d: divide it", path, lines, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("no Go files found")
	}
}

// Each library that the code uses stands in CONTRIBUTING.md with the reason for it.
func TestLibrariesExplained(t *testing.T) {
	t.Parallel()
	out, err := run("go", "mod", "edit", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct{ Path string }
		Tool    []struct{ Path string }
	}
	if err := json.Unmarshal([]byte(out), &mod); err != nil {
		t.Fatal(err)
	}
	var required []string
	for _, r := range mod.Require {
		required = append(required, r.Path)
	}
	// What is imported counts, not the "// indirect" comments, which lag behind.
	var direct []string
	use := func(path string) {
		if m := moduleOf(path, required); m != "" && !slices.Contains(direct, m) {
			direct = append(direct, m)
		}
	}
	for _, p := range list(t) {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			use(path)
		}
	}
	for _, tool := range mod.Tool {
		use(tool.Path)
	}
	slices.Sort(direct)

	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatalf("the libraries need a place: %v", err)
	}
	for _, m := range direct {
		name := majorSuffix.ReplaceAllString(strings.TrimPrefix(m, "github.com/"), "")
		if !bytes.Contains(text, []byte(name)) {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", m)
		}
	}
}

var majorSuffix = regexp.MustCompile(`/v[0-9]+$`)
