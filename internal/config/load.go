package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// DefaultFiles are merged in this order where they exist: docker bake's own
// (compose files apart), then ours.
var DefaultFiles = []string{
	"docker-bake.json",
	"docker-bake.hcl",
	"docker-bake.override.json",
	"docker-bake.override.hcl",
	"targets.hcl",
	"targets.override.hcl",
}

// Options say where a configuration comes from.
type Options struct {
	// Dir is what file names are relative to; "" is the working directory.
	Dir string
	// Files are read instead of DefaultFiles; one that is missing is an error.
	Files []string
	// LookupEnv gives the values of variables, as bake takes them from the
	// environment. Nil means none.
	LookupEnv func(string) (string, bool)
}

// Load reads, merges and checks the files. The Config is usable only without
// error diagnostics; its Sources serve to show them.
func Load(o Options) (*Config, hcl.Diagnostics) {
	c := &Config{Release: defaultRelease(), Sources: map[string]*hcl.File{}}
	bodies, diags := c.read(o)
	if diags.HasErrors() {
		return c, diags
	}

	for _, b := range bodies {
		diags = append(diags, fileShape().unknown(b, "This file")...)
	}

	ownSchema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "worker", LabelNames: []string{"name"}},
		{Type: "registry", LabelNames: []string{"host"}},
		{Type: "device", LabelNames: []string{"name"}},
		{Type: "release"},
		{Type: "audit"},
	}}
	own, bake, ownDiags := hclparser.MergeBodies(bodies).PartialContent(ownSchema)
	diags = append(diags, ownDiags...)

	diags = append(diags, c.parseBake(bake, o.LookupEnv)...)
	if len(c.Targets) == 0 {
		if !diags.HasErrors() {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "No target",
				Detail:   fmt.Sprintf("%s names nothing to build. Add a block such as: target \"app\" { tags = [\"registry.example/app:1\"] }", strings.Join(c.Files, ", ")),
			})
		}
		return c, diags
	}
	diags = append(diags, c.decodeOwn(own.Blocks)...)
	diags = append(diags, c.decodeTargets()...)
	diags = append(diags, c.check()...)
	return c, sorted(diags)
}

// read parses the files and remembers their sources.
func (c *Config) read(o Options) ([]hcl.Body, hcl.Diagnostics) {
	names, given := DefaultFiles, false
	if len(o.Files) > 0 {
		names, given = o.Files, true
	}
	parser := hclparse.NewParser()
	var bodies []hcl.Body
	var diags hcl.Diagnostics
	for _, name := range names {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(o.Dir, path)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && !given {
			continue
		}
		if err != nil {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Unreadable file",
				Detail:   fmt.Sprintf("Reading %s: %v.", name, unwrapPath(err)),
			})
			continue
		}
		var f *hcl.File
		var d hcl.Diagnostics
		if strings.HasSuffix(name, ".json") {
			f, d = parser.ParseJSON(data, name)
		} else {
			f, d = parser.ParseHCL(data, name)
		}
		if f == nil {
			f = &hcl.File{Bytes: data}
		}
		c.Files = append(c.Files, name)
		c.Sources[name] = f
		diags = append(diags, d...)
		if f.Body != nil {
			bodies = append(bodies, f.Body)
		}
	}
	if len(c.Files) == 0 && !diags.HasErrors() {
		dir := o.Dir
		if dir == "" {
			dir, _ = os.Getwd()
		}
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "No targets.hcl here",
			Detail: fmt.Sprintf("Looked in %s for %s. Write a targets.hcl there, go to the directory that has one, or name it with ARCHMAGE_FILE.",
				dir, strings.Join(names, ", ")),
		})
	}
	return bodies, diags
}

// bakeBlocks is what hclparser fills.
type bakeBlocks struct {
	Groups  []*Group  `hcl:"group,block" cty:"group"`
	Targets []*Target `hcl:"target,block" cty:"target"`
}

func (c *Config) parseBake(body hcl.Body, lookup func(string) (string, bool)) hcl.Diagnostics {
	labels, _, _ := body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "target", LabelNames: []string{"name"}}, {Type: "group", LabelNames: []string{"name"}},
	}})
	for _, b := range labels.Blocks {
		c.declared = append(c.declared, b.Labels...)
	}
	var b bakeBlocks
	meta, diags := hclparser.Parse(body, hclparser.Opt{
		LookupVar: lookup,
		Vars: map[string]string{
			"BAKE_CMD_CONTEXT":    "cwd://",
			"BAKE_LOCAL_PLATFORM": platforms.Format(platforms.DefaultSpec()),
		},
		ValidateLabel: func(name string) error {
			if !targetName.MatchString(name) {
				return fmt.Errorf("the name %q has characters other than letters, digits, _ and -", name)
			}
			return nil
		},
	}, &b)
	c.Groups = b.Groups
	for _, t := range b.Targets {
		if had := c.target(t.Name); had != nil {
			had.Merge(t)
			continue
		}
		c.Targets = append(c.Targets, t)
	}
	if meta == nil {
		return diags
	}
	// A matrix target's own name becomes a group of its results; a group
	// block of that name wins.
	for _, renamed := range meta.Renamed {
		for _, old := range slices.Sorted(maps.Keys(renamed)) {
			names := uniqueStrings(renamed[old])
			if (len(names) == 1 && names[0] == old) || c.group(old) != nil {
				continue
			}
			c.Groups = append(c.Groups, &Group{Name: old, Targets: names})
		}
	}
	for _, g := range c.Groups {
		g.Targets = uniqueStrings(g.Targets)
	}
	return diags
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

func unwrapPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
