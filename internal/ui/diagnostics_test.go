package ui

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

const badSource = `target "hello" {
  platfroms = ["linux/amd64"]
	tags	= ["größe:1", "Größe:2"]
}
target "evil\x1b[2J" {
`

// badFile returns the file of badSource and what is wrong with it.
func badFile(t *testing.T) (map[string]*hcl.File, hcl.Diagnostics) {
	t.Helper()
	source := strings.ReplaceAll(badSource, `\x1b`, "\x1b")
	file, diags := hclsyntax.ParseConfig([]byte(source), "targets.hcl", hcl.InitialPos)
	if !diags.HasErrors() {
		t.Fatal("the bad source parses")
	}
	lines := strings.Split(source, "\n")
	at := func(line int, text string) *hcl.Range {
		column := strings.Index(lines[line-1], text)
		start := hcl.Pos{Line: line, Column: column + 1, Byte: len(strings.Join(lines[:line-1], "\n")) + 1 + column}
		end := start
		end.Byte += len(text)
		end.Column += len(text)
		return &hcl.Range{Filename: "targets.hcl", Start: start, End: end}
	}
	return map[string]*hcl.File{"targets.hcl": file}, append(hcl.Diagnostics{
		{
			Severity: hcl.DiagError, Subject: at(2, "platfroms"),
			Summary: "Unknown attribute \"platfroms\"",
			Detail:  "A target has no attribute of this name, and what it would mean is written here at some length. Did you mean \"platforms\"?",
		},
		{
			Severity: hcl.DiagWarning, Subject: at(3, `"Größe:2"`),
			Summary: "Tag is no reference", Detail: "repository name must be lowercase\x1b[31m",
		},
	}, diags...)
}

func TestDiagnosticsGolden(t *testing.T) {
	t.Parallel()
	files, diags := badFile(t)
	for name, traits := range places {
		s, _, out := Buffers(traits)
		if err := Diagnostics(s.Err, diags, files); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out.Bytes(), []byte("\x1b[2J")) {
			t.Errorf("%s: a foreign escape sequence passed", name)
		}
		golden(t, "diagnostics-"+name+".golden", out.Bytes())
	}
}

func TestDiagnosticsNone(t *testing.T) {
	t.Parallel()
	s, _, out := Buffers(Traits{})
	if err := Diagnostics(s.Err, nil, nil); err != nil || out.Len() != 0 {
		t.Errorf("no diagnostics wrote %q, %v", out, err)
	}
}

func TestCountLine(t *testing.T) {
	t.Parallel()
	diag := func(severity hcl.DiagnosticSeverity, file string) *hcl.Diagnostic {
		d := &hcl.Diagnostic{Severity: severity}
		if file != "" {
			d.Subject = &hcl.Range{Filename: file}
		}
		return d
	}
	tests := []struct {
		diags hcl.Diagnostics
		want  string
	}{
		{hcl.Diagnostics{diag(hcl.DiagError, "")}, "1 error; nothing was touched"},
		{hcl.Diagnostics{diag(hcl.DiagWarning, "a.hcl")}, "1 warning in a.hcl"},
		{hcl.Diagnostics{diag(hcl.DiagError, "a.hcl"), diag(hcl.DiagError, "a.hcl"), diag(hcl.DiagError, "b.hcl")}, "3 errors in a.hcl and b.hcl; nothing was touched"},
		{hcl.Diagnostics{diag(hcl.DiagError, "a"), diag(hcl.DiagWarning, "b"), diag(hcl.DiagWarning, "c")}, "1 error and 2 warnings in 3 files; nothing was touched"},
	}
	for _, tt := range tests {
		if got := Count(tt.diags); got != tt.want {
			t.Errorf("Count = %q, want %q", got, tt.want)
		}
	}
}
