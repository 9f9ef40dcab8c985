package archtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// What people copy out of the documentation must at least be HCL.
func TestExamplesParse(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		line := 1
		for i, part := range strings.Split(string(text), "```") {
			if body, ok := strings.CutPrefix(part, "hcl\n"); ok && i%2 == 1 {
				found++
				_, diags := hclsyntax.ParseConfig([]byte(body), page, hcl.Pos{Line: line + 1, Column: 1})
				for _, d := range diags {
					t.Error(d)
				}
			}
			line += strings.Count(part, "\n")
		}
	}
	if found == 0 {
		t.Error("no example was found")
	}
}
