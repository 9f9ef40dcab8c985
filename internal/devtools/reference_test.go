package devtools

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The reference is what the source says now.
func TestReference(t *testing.T) {
	t.Parallel()
	pages, err := References("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what the source says (%v): run go tool mage reference", name, err)
		}
	}
}

// Whoever reads the reference finds each attribute explained.
func TestReferenceExplains(t *testing.T) {
	t.Parallel()
	pages, err := References("../..")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for name, page := range pages {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for line := range strings.Lines(string(page)) {
			if !strings.HasPrefix(line, "| `") || strings.Contains(line, "| block |") {
				continue
			}
			rows++
			if cells := strings.Split(strings.TrimSpace(line), " | "); strings.Trim(cells[len(cells)-1], "| ") == "" {
				t.Errorf("docs/%s: nothing is said of %s", name, cells[0])
			}
		}
	}
	if rows < 150 {
		t.Errorf("%d rows: something was not read", rows)
	}
}

var looksUp = regexp.MustCompile(`(?i)(?:getenv|lookupenv)\("([A-Z_]+)"\)`)

// Variables that the program reads are in the reference.
func TestVariables(t *testing.T) {
	t.Parallel()
	var known []string
	for _, v := range Variables {
		known = append(known, strings.Split(v[0], ", ")...)
	}
	listed := " " + strings.Join(known, " ") + " "
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata" || strings.HasSuffix(d.Name(), "test") || d.Name() == "devtools") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range looksUp.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(listed, " "+m[1]+" ") {
				t.Errorf("%s reads %s, which docs/tasks.md does not name", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
