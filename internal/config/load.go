package config

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Options say where a configuration comes from.
type Options struct {
	// Dir is what file names are relative to; "" is the working directory.
	Dir string
	// Files are read instead of the default ones; one that is missing is an error.
	Files []string
	// LookupEnv gives the values of variables, as bake takes them from the
	// environment. Nil means none.
	LookupEnv func(string) (string, bool)
	// Environ is the environment as KEY=VALUE, which compose files are
	// interpolated with. Nil means none.
	Environ []string
}

// Load reads, merges and evaluates the files. What targets say is judged when
// they are selected, as bake does it; the blocks that bake does not know are
// judged here. The Config is usable only without error diagnostics; its
// Sources serve to show them.
func Load(o Options) (*Config, hcl.Diagnostics) {
	c := &Config{
		Release: defaultRelease(), Sources: map[string]*hcl.File{}, dir: o.Dir, lookup: o.LookupEnv,
		targets: map[string]*Target{}, groups: map[string]*Group{},
	}
	if c.lookup == nil {
		c.lookup = func(string) (string, bool) { return "", false }
	}
	files, diags := c.read(o)
	if diags.HasErrors() {
		return c, c.plain(diags)
	}
	diags = append(diags, c.compose(files, o.Environ)...)

	var bodies, own []hcl.Body
	for _, f := range files {
		if f.body == nil {
			continue
		}
		bodies = append(bodies, f.body)
		ours := f.ours()
		c.own = c.own || ours
		unknown := fileShape().unknown(f.body, "This file")
		diags = append(diags, repeated(f)...)
		if !ours {
			unknown = passedOver(unknown)
		}
		diags = append(diags, unknown...)
		if ours {
			own = append(own, f.body)
		}
	}
	for _, f := range files {
		if f.body != nil && f.ours() {
			diags = append(diags, stray(f, bodies)...)
		}
	}
	blocks, ownDiags := ownContent(own)
	diags = append(diags, ownDiags...)

	evaluation := c.evaluate(bodies)
	diags = append(diags, evaluation...)
	if evaluation.HasErrors() {
		return c, sorted(c.plain(diags))
	}
	c.evaluated = true
	diags = append(diags, c.decodeOwn(blocks)...)
	diags = append(diags, c.decodeTargets()...)
	diags = append(diags, c.check()...)
	return c, sorted(c.plain(diags))
}

// passedOver makes warnings of what a bake file holds and bake does not know.
func passedOver(unknown hcl.Diagnostics) hcl.Diagnostics {
	var out hcl.Diagnostics
	for _, d := range unknown {
		if !strings.HasPrefix(d.Summary, "Unknown ") {
			continue // bake's own parser judges the rest
		}
		d.Severity = hcl.DiagWarning
		d.Detail += " As in docker buildx bake, it has no effect."
		out = append(out, d)
	}
	return out
}

// ours reports whether the file is one of archmage's rather than bake's: what
// it holds that nobody knows is then an error.
func (f *file) ours() bool {
	base := filepath.Base(f.name)
	if strings.HasPrefix(base, "targets.") {
		return true
	}
	content, diags := ownContent([]hcl.Body{f.body})
	if diags.HasErrors() {
		return false // a top-level attribute of one of these names, in JSON
	}
	if len(content) > 0 {
		return true
	}
	targets, _, _ := f.body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "target", LabelNames: []string{"name"}}}})
	for _, t := range targets.Blocks {
		if native, ok := t.Body.(*hclsyntax.Body); ok && len(native.Blocks) == 0 {
			continue
		}
		inner, _, diags := t.Body.PartialContent(targetBlocksSchema)
		if !diags.HasErrors() && len(inner.Blocks) > 0 {
			return true
		}
	}
	return false
}

func ownContent(bodies []hcl.Body) (hcl.Blocks, hcl.Diagnostics) {
	content, _, diags := hclparser.MergeBodies(bodies).PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "worker", LabelNames: []string{"name"}},
		{Type: "registry", LabelNames: []string{"host"}},
		{Type: "device", LabelNames: []string{"name"}},
		{Type: "release"},
		{Type: "audit"},
		{Type: "hook", LabelNames: []string{"point"}},
	}})
	return content.Blocks, diags
}

// sorted orders diagnostics by place and drops repetitions.
func sorted(diags hcl.Diagnostics) hcl.Diagnostics {
	if len(diags) > 1 {
		// The decoder's echo of an unknown variable, which is reported itself.
		diags = slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool {
			return d.Detail == "Unsuitable value: value must be known"
		})
	}
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		if a.Subject == nil || b.Subject == nil {
			return boolRank(a.Subject != nil) - boolRank(b.Subject != nil)
		}
		if n := strings.Compare(a.Subject.Filename, b.Subject.Filename); n != 0 {
			return n
		}
		return a.Subject.Start.Byte - b.Subject.Start.Byte
	})
	return slices.CompactFunc(diags, func(a, b *hcl.Diagnostic) bool {
		return a.Detail == b.Detail && a.Subject != nil && b.Subject != nil && *a.Subject == *b.Subject
	})
}
