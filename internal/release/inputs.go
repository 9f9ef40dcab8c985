package release

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/plan"
)

// checkInputs finds contexts and Dockerfiles that are not there before
// anything is started for them. What a prepare command has yet to make cannot
// be asked for.
func (w *Workspace) checkInputs(p *plan.Plan) hcl.Diagnostics {
	var diags hcl.Diagnostics
	said := map[string]bool{}
	fail := func(b *plan.Build, attr, format string, args ...any) {
		detail := fmt.Sprintf(format, args...)
		if !said[detail] {
			said[detail] = true
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing " + attr, Detail: detail, Subject: b.Spec.Where(attr, "")})
		}
	}
	for _, b := range p.Builds() {
		at := build.Locate(b.Spec, w.Dir)
		if b.Spec.Prepare != nil {
			continue
		}
		if st, err := os.Stat(at.Context); at.Remote == "" && (err != nil || !st.IsDir()) {
			fail(b, "context", "Target %q is built from the directory %s, which is not there.", b.Target.Name, at.Context)
			continue
		}
		if at.Missing() {
			fail(b, "dockerfile", "Target %q is built by %s, which is not there. Write it, or name another with dockerfile, relative to the context.", b.Target.Name, at.Path())
		}
	}
	return diags
}

func (w *Workspace) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(w.Dir, path)
}
