package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// stray reports attributes at the top level of a file that have no effect. For
// bake such an attribute is a variable; one that nothing refers to is more likely
// a setting that was to stand in a block, or a variable whose name is misspelt.
func stray(f *file, all []hcl.Body) hcl.Diagnostics {
	body, ok := f.body.(*hclsyntax.Body)
	if !ok {
		return strayJSON(f)
	}
	used, variables := mentioned(all)
	var diags hcl.Diagnostics
	for _, a := range body.Attributes {
		if used[a.Name] || slices.Contains(variables, a.Name) {
			continue
		}
		d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Attribute without effect", Subject: a.NameRange.Ptr()}
		near := ""
		if i := slices.IndexFunc(variables, func(v string) bool { return strings.EqualFold(v, a.Name) }); i >= 0 {
			near = variables[i]
		} else {
			near = nearest(a.Name, variables)
		}
		home := homes(a.Name)
		switch {
		case near != "":
			d.Detail = fmt.Sprintf("%q stands outside of every block and nothing refers to it. Did you mean the variable %q?", a.Name, near)
		case len(home) > 0:
			d.Detail = fmt.Sprintf("%q stands outside of every block, where it has no effect. It belongs in %s.", a.Name, strings.Join(home, " or "))
		case slices.Contains(settings(), a.Name):
			d.Detail = fmt.Sprintf("%q stands outside of every block, where it has no effect. Move it into the block that it is for.", a.Name)
		default:
			d.Severity = hcl.DiagWarning
			d.Detail = fmt.Sprintf("%q is a variable that nothing refers to, so it has no effect.", a.Name)
		}
		diags = append(diags, d)
	}
	return diags
}

// strayJSON reports the names at the top of a JSON file that are most likely
// misspelt blocks: there a block looks as an attribute does.
func strayJSON(f *file) hcl.Diagnostics {
	top := fileShape()
	schema := &hcl.BodySchema{}
	var blocks []string
	for b := range top.blocks {
		blocks = append(blocks, b)
		h := hcl.BlockHeaderSchema{Type: b}
		if _, bare := unlabelled[b]; !bare {
			h.LabelNames = []string{"name"}
		}
		schema.Blocks = append(schema.Blocks, h)
	}
	_, rest, _ := f.body.PartialContent(schema)
	attrs, _ := rest.JustAttributes()
	var diags hcl.Diagnostics
	for _, a := range attrs {
		if nearest(a.Name, blocks) != "" {
			diags = append(diags, top.diagnose("block", a.Name, "This file", a.NameRange))
		}
	}
	return diags
}

// settings are the names of all attributes that a block may have.
func settings() []string {
	var out []string
	var walk func(shape)
	walk = func(s shape) {
		out = append(out, s.attrs...)
		for _, b := range s.blocks {
			walk(b)
		}
	}
	walk(fileShape())
	return out
}

// mentioned are the names that expressions refer to, and those that variable
// blocks declare.
func mentioned(bodies []hcl.Body) (used map[string]bool, variables []string) {
	used = map[string]bool{}
	for _, body := range bodies {
		walk(body, func(e hcl.Expression) {
			for _, t := range e.Variables() {
				used[t.RootName()] = true
			}
		})
		if native, ok := body.(*hclsyntax.Body); ok {
			for _, b := range native.Blocks {
				if b.Type == "variable" && len(b.Labels) == 1 {
					variables = append(variables, b.Labels[0])
				}
			}
		}
	}
	return used, variables
}

// repeated warns of targets, groups and variables that a file has twice: bake
// merges them, and the later one wins, which in one file is rarely intended.
func repeated(f *file) hcl.Diagnostics {
	body, ok := f.body.(*hclsyntax.Body)
	if !ok {
		return nil
	}
	var diags hcl.Diagnostics
	first := map[string]*hclsyntax.Block{}
	for _, b := range body.Blocks {
		if !slices.Contains([]string{"target", "group", "variable"}, b.Type) || len(b.Labels) != 1 {
			continue
		}
		key := b.Type + " " + b.Labels[0]
		if prev := first[key]; prev != nil {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagWarning,
				Summary:  "Block twice in one file",
				Detail: fmt.Sprintf("%s %q stands already in line %d. As in docker buildx bake both are merged, and where they differ this one wins. Give one of them another name, or make them one.",
					strings.ToUpper(b.Type[:1])+b.Type[1:], b.Labels[0], prev.TypeRange.Start.Line),
				Subject: b.DefRange().Ptr(),
			})
			continue
		}
		first[key] = b
	}
	return diags
}
