package release

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/plan"
)

// checkInputs finds settings, contexts, Dockerfiles and ignore files that no
// build could be made of, before anything is started for them. Files that a
// mistake lies in are added to sources.
func (w *Workspace) checkInputs(p *plan.Plan, sources map[string]*hcl.File) hcl.Diagnostics {
	o := build.Options{
		Dir: w.Dir, LookupEnv: w.LookupEnv, Environ: w.Environ,
		DockerMediaTypes: p.Release.MediaTypes == "docker", Strip: p.Release.Attestations == "strip",
	}
	var diags hcl.Diagnostics
	said := map[string]bool{}
	for _, b := range p.Builds() {
		for _, m := range build.Check(b, o) {
			if said[m.Text] {
				continue
			}
			said[m.Text] = true
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: headline(m), Detail: m.Text, Subject: w.place(b, m, sources)})
		}
	}
	return diags
}

func headline(m build.Mistake) string {
	switch {
	case m.File != "":
		return "Invalid pattern"
	case m.Attr == "":
		return "Invalid setting"
	case m.Attr == "command":
		return "Command for a shell"
	case strings.Contains(m.Text, "is not there"):
		return "Missing " + m.Attr
	}
	return "Unusable " + m.Attr
}

// place is where a mistake stands: in the file that it is in, or in the
// target's blocks.
func (w *Workspace) place(b *plan.Build, m build.Mistake, sources map[string]*hcl.File) *hcl.Range {
	if m.File == "" {
		switch p := b.Spec.Prepare; {
		case m.Attr == "prepare" && p != nil:
			return p.Where("dir")
		case m.Attr == "command" && p != nil:
			return p.Where("command")
		}
		return b.Spec.Where(m.Attr, "")
	}
	name := m.File
	if rel, err := filepath.Rel(w.Dir, m.File); err == nil && filepath.IsLocal(rel) {
		name = rel
	}
	data, err := os.ReadFile(m.File)
	if err != nil {
		return b.Spec.Where(m.Attr, "")
	}
	sources[name] = &hcl.File{Bytes: data}
	begin := 0
	for range m.Line - 1 {
		begin += bytes.IndexByte(data[begin:], '\n') + 1
	}
	line, _, _ := bytes.Cut(data[begin:], []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	return &hcl.Range{
		Filename: name,
		Start:    hcl.Pos{Line: m.Line, Column: 1, Byte: begin},
		End:      hcl.Pos{Line: m.Line, Column: 1 + len([]rune(string(line))), Byte: begin + len(line)},
	}
}

func (w *Workspace) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(w.Dir, path)
}
