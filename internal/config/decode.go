package config

import (
	"fmt"
	"slices"

	"github.com/docker/buildx/bake/hclparser/gohcl"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// decodeOwn reads the worker, registry, device, hook, release and audit blocks. Blocks of
// one name in several files are laid over each other; in one file they are a
// mistake.
func (c *Config) decodeOwn(blocks hcl.Blocks) hcl.Diagnostics {
	// hclparser resolves variables lazily and shows its scope only to targets.
	i := slices.IndexFunc(c.Targets, func(t *Target) bool { return t.base != nil })
	if i < 0 {
		return nil // the targets themselves failed, which is said already, or are a compose file's
	}
	sc := scope{ctx: c.Targets[i].base, load: c.Targets[i].scope.load}
	var diags hcl.Diagnostics
	seen := map[string]*hcl.Block{}
	for _, b := range blocks {
		key := describeBlock(b.Type, b.Labels)
		if prev, ok := seen[key]; ok && prev.DefRange.Filename == b.DefRange.Filename {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Duplicate block",
				Detail:   fmt.Sprintf("%s stands already at %s. Give one of them another name, or make them one.", key, prev.DefRange),
				Subject:  b.DefRange.Ptr(),
			})
			continue
		}
		seen[key] = b
		diags = append(diags, sc.loadBody(b.Body)...)
		switch b.Type {
		case "worker":
			w := pick(&c.Workers, func(w *Worker) bool { return w.Name == b.Labels[0] })
			diags = append(diags, sc.decode(b.Body, w)...)
			w.Name = b.Labels[0]
		case "registry":
			r := pick(&c.Registries, func(r *Registry) bool { return r.Host == b.Labels[0] })
			diags = append(diags, sc.decode(b.Body, r)...)
			r.Host = b.Labels[0]
		case "device":
			d := pick(&c.Devices, func(d *Device) bool { return d.Name == b.Labels[0] })
			diags = append(diags, sc.decode(b.Body, d)...)
			d.Name = b.Labels[0]
		case "release":
			diags = append(diags, sc.decode(b.Body, &c.Release)...)
		case "hook":
			h := pick(&c.Hooks, func(h *Hook) bool { return h.Point == b.Labels[0] })
			diags = append(diags, sc.decode(b.Body, h)...)
			h.Point = b.Labels[0]
		case "audit":
			var a Audit
			diags = append(diags, sc.decode(b.Body, &a)...)
			diags = append(diags, a.check()...)
			c.Audit = c.Audit.Merge(&a)
		}
	}
	return diags
}

var targetBlocksSchema, _ = gohcl.ImpliedBodySchema(targetBlocks{})

// decodeTargets reads the platform, prepare and smoke blocks of every target,
// file by file, so that a later file overrides.
func (c *Config) decodeTargets() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, t := range c.Targets {
		for _, src := range t.sources {
			if src.scope.ctx == nil {
				continue
			}
			if native, ok := src.block.Body.(*hclsyntax.Body); ok && len(native.Blocks) == 0 {
				continue
			}
			content, _, _ := src.block.Body.PartialContent(targetBlocksSchema)
			for _, b := range content.Blocks {
				diags = append(diags, src.scope.loadBody(b.Body)...)
			}
			if len(content.Blocks) == 0 {
				continue
			}
			var own targetBlocks
			diags = append(diags, src.scope.decode(src.block.Body, &own)...)
			for _, o := range own.Overrides {
				o.nullClears()
			}
			t.Overrides = mergeOverrides(t.Overrides, own.Overrides)
			if own.Prepare != nil {
				t.Prepare = own.Prepare
			}
			if own.Smokes != nil {
				t.Smokes = own.Smokes
			}
			diags = append(diags, own.Audit.check()...)
			t.Audit = t.Audit.Merge(own.Audit)
		}
	}
	return diags
}

// decode fills val from body. What val has no field for was reported by
// shape.unknown, with better advice than a decoder gives.
func (sc scope) decode(body hcl.Body, val any) hcl.Diagnostics {
	return slices.DeleteFunc(gohcl.DecodeBody(body, sc.ctx, val), func(d *hcl.Diagnostic) bool {
		switch d.Summary {
		case "Unsupported argument", "Unsupported block type", "Extraneous JSON object property":
			return true
		}
		return false
	})
}

// loadBody resolves what the expressions of a body and its blocks refer to.
func (sc scope) loadBody(body hcl.Body) hcl.Diagnostics {
	var diags hcl.Diagnostics
	walk(body, func(e hcl.Expression) {
		diags = append(diags, sc.load(e)...)
	})
	return diags
}

// walk calls f for every expression of a body. JSON bodies have no nested
// blocks until a schema is laid over them; their attributes are all there is.
func walk(body hcl.Body, f func(hcl.Expression)) {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		attrs, _ := body.JustAttributes()
		for _, a := range attrs {
			f(a.Expr)
		}
		return
	}
	for _, a := range native.Attributes {
		f(a.Expr)
	}
	for _, b := range native.Blocks {
		walk(b.Body, f)
	}
}

// pick returns the element that matches, or a new one at the end.
func pick[T any](list *[]*T, match func(*T) bool) *T {
	for _, e := range *list {
		if match(e) {
			return e
		}
	}
	e := new(T)
	*list = append(*list, e)
	return e
}
