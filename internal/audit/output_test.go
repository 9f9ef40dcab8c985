package audit_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/config"
)

var update = flag.Bool("update", false, "rewrite golden files")

// sample is a report with text that no output may pass through.
func sample() *audit.Report {
	child := audit.Node{Kind: audit.KindImage, Name: "linux/arm64", Platform: "linux/arm64", Digest: digest.FromString("arm64"), TotalSize: 12_345_678, Layers: make([]audit.Layer, 3)}
	return &audit.Report{
		Tree: &audit.Tree{Reference: "localhost:5000/hello:1", Node: audit.Node{Kind: audit.KindIndex, Digest: digest.FromString("index"), Children: []audit.Node{child}}},
		Images: []audit.Image{{
			Platform: "linux/arm64", Digest: child.Digest, Binaries: "ELF amd64, static, Go 1.26", Program: "/hello",
			BuiltBy: "rack", ProvenOn: []string{"door", "gate|keeper"},
		}},
		Findings: []audit.Finding{
			{ID: "elf-architecture", Severity: audit.Error, Platform: "linux/arm64", Digest: child.Digest, Layer: digest.FromString("layer"), Path: "/hel`lo",
				Message: "the entrypoint is for amd64, the image for linux/arm64", Evidence: []string{"the file: ELF amd64"},
				Chain: []string{"entrypoint", "/run|\x1b[1m", "line 4", "/hel`lo"}},
			{ID: "config-divergence", Severity: audit.Warning, Platform: "linux/arm64", Message: "odd\x1b[31m\n::error::<img src=x> 100%|@everyone"},
			{ID: "index-annotations", Severity: audit.Note, Digest: digest.FromString("index"), Message: "none"},
		},
	}
}

// TestSARIF validates against the schema of OASIS, as published at
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json
func TestSARIF(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile("testdata/sarif/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, reports := range map[string][]*audit.Report{"none": nil, "one": {sample()}, "two": {sample(), sample()}} {
		var b bytes.Buffer
		if err := audit.WriteSARIF(&b, "1.2.3", reports...); err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "one" {
			golden(t, "report.sarif", b.Bytes())
			// The schema must be able to say no.
			bad, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(b.String(), `"level": "error"`, `"level": "fatal"`, 1)))
			if err != nil {
				t.Fatal(err)
			}
			if schema.Validate(bad) == nil {
				t.Error("the schema accepts a level that does not exist")
			}
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := audit.WriteMarkdown(&b, sample(), &audit.Report{Tree: &audit.Tree{Reference: "clean"}}); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.md", b.Bytes())
}

func TestGitHub(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := audit.WriteGitHub(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.github", b.Bytes())
}

func TestReportJSON(t *testing.T) {
	t.Parallel()
	raw, err := json.MarshalIndent(sample(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsRune(raw, 0x1b) {
		t.Error("the JSON holds an escape character")
	}
	golden(t, "report.json", append(raw, '\n'))
	var back audit.Report
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*sample(), back); d != "" {
		t.Errorf("JSON loses something:\n%s", d)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "output", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// TestCatalogue holds the checks, their names in the configuration and their
// documentation together.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range audit.Checks {
		ids = append(ids, c.ID)
		if c.Title == "" || c.Remedy == "" {
			t.Errorf("%s does not say what it means and how it is mended", c.ID)
		}
		if !bytes.Contains(doc, []byte("\n### "+c.ID+"\n")) {
			t.Errorf("docs/audit.md has no section on %s", c.ID)
		}
	}
	if d := cmp.Diff(ids, config.AuditChecks); d != "" {
		t.Errorf("the checks (-) are others than the configuration knows (+):\n%s", d)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules audit.Rules
		says  string
	}{
		{audit.Rules{Ignore: []string{"elf"}}, `"elf": no check`},
		{audit.Rules{Severity: map[string]audit.Severity{"elf": "note"}}, `"elf": no check`},
		{audit.Rules{Severity: map[string]audit.Severity{"setuid": "fatal"}}, "none of error"},
		{audit.Rules{Allow: []string{"["}}, "dockerignore"},
		{audit.Rules{Ignore: []string{"setuid"}, Severity: map[string]audit.Severity{"secret": "error"}, Allow: []string{"/opt/**"}}, ""},
	} {
		err := tt.rules.Check()
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v, want %q", tt.rules, err, tt.says)
		}
	}
}

func TestFails(t *testing.T) {
	t.Parallel()
	r := sample()
	for failOn, n := range map[audit.Severity]int{audit.Error: 1, audit.Warning: 2, audit.Note: 3, "": 1} {
		if got := r.Fails(failOn); len(got) != n {
			t.Errorf("%d findings fail on %q, want %d", len(got), failOn, n)
		}
	}
	if r.Worst() != audit.Error || (&audit.Report{}).Worst() != "" {
		t.Error("the gravest severity is another")
	}
}

// TestExplain says of each check what the documentation does.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range audit.Checks {
		text, err := audit.Explain(c.ID)
		if err != nil || !strings.HasPrefix(text, c.ID+"\n\n*"+string(c.Severity)+"*: "+c.Title+".") || !strings.Contains(text, "Mend: ") || strings.Contains(text, "###") {
			t.Errorf("%s: %v\n%s", c.ID, err, text)
		}
	}
	if _, err := audit.Explain("elf-archtecture"); err == nil || !strings.Contains(err.Error(), `"elf-architecture"`) {
		t.Errorf("a misspelt id: %v", err)
	}
	if _, err := audit.Explain("x"); err == nil || !strings.Contains(err.Error(), "page-size") {
		t.Errorf("an unknown id: %v", err)
	}
}
