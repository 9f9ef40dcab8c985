package config

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Resolve gives the target as it is built: what it inherits, then its own
// blocks, with bake's defaults for context and dockerfile.
func (c *Config) Resolve(name string) (*Target, error) {
	t, err := c.inherit(name, nil)
	if err != nil {
		return nil, err
	}
	t.Inherits = nil
	if t.Context == nil {
		t.Context = ptr(".")
	}
	if t.Dockerfile == nil || *t.Dockerfile == "" {
		t.Dockerfile = ptr("Dockerfile")
	}
	return t, nil
}

func (c *Config) inherit(name string, below []string) (*Target, error) {
	own := c.target(name)
	if own == nil {
		return nil, fmt.Errorf("there is no target %q", name)
	}
	if slices.Contains(below, name) {
		return nil, fmt.Errorf("target %q inherits from itself: %s", name, strings.Join(append(below, name), " → "))
	}
	t := &Target{Name: name}
	for _, parent := range own.Inherits {
		p, err := c.inherit(parent, append(below[:len(below):len(below)], name))
		if err != nil {
			return nil, err
		}
		t.Merge(p)
	}
	t.Merge(own)
	t.Name, t.base = name, own.base
	t.normalize()
	return t, nil
}

// Select expands names of groups and targets, and patterns such as "app-*",
// into target names in the order given. No name means the group or target
// "default" where one exists, else all targets.
func (c *Config) Select(names []string) ([]string, error) {
	if len(names) == 0 {
		if c.group("default") == nil && c.target("default") == nil {
			var all []string
			for _, t := range c.Targets {
				all = append(all, t.Name)
			}
			return all, nil
		}
		names = []string{"default"}
	}
	var out []string
	for _, n := range names {
		matches, err := c.match(n)
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			out = append(out, c.expand(m, nil)...)
		}
	}
	return uniqueStrings(out), nil
}

func (c *Config) match(pattern string) ([]string, error) {
	all := c.names()
	if !strings.ContainsAny(pattern, "*?[]") {
		if slices.Contains(all, pattern) {
			return []string{pattern}, nil
		}
		if near := nearest(pattern, all); near != "" {
			return nil, fmt.Errorf("there is no target or group %q; did you mean %q?", pattern, near)
		}
		return nil, fmt.Errorf("there is no target or group %q; there are: %s", pattern, strings.Join(all, ", "))
	}
	var out []string
	for _, n := range all {
		ok, err := path.Match(pattern, n)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q is malformed: %w", pattern, err)
		}
		if ok {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no target matches %q; there are: %s", pattern, strings.Join(all, ", "))
	}
	return out, nil
}

func (c *Config) names() []string {
	var all []string
	for _, g := range c.Groups {
		all = append(all, g.Name)
	}
	for _, t := range c.Targets {
		all = append(all, t.Name)
	}
	return uniqueStrings(all)
}

// expand follows groups down to targets; a group beats a target of its name.
func (c *Config) expand(name string, visited []string) []string {
	g := c.group(name)
	if g == nil {
		return []string{name}
	}
	if slices.Contains(visited, name) {
		return nil
	}
	var out []string
	for _, t := range g.Targets {
		out = append(out, c.expand(t, append(visited[:len(visited):len(visited)], name))...)
	}
	return out
}

// checkNames reports groups and inherits that name nothing, and circles.
func (c *Config) checkNames() hcl.Diagnostics {
	var diags hcl.Diagnostics
	// A target whose block failed to evaluate is declared all the same.
	all := uniqueStrings(append(c.names(), c.declared...))
	missing := func(what, name string, subject *hcl.Range) {
		d := fmt.Sprintf("There is no %s %q.", what, name)
		if near := nearest(name, all); near != "" {
			d += fmt.Sprintf(" Did you mean %q?", near)
		}
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown " + what, Detail: d, Subject: subject})
	}
	for _, g := range c.Groups {
		for i, n := range g.Targets {
			if !slices.Contains(all, n) {
				missing("target or group", n, at(g.Body, "targets", i))
			}
		}
	}
	for _, t := range c.Targets {
		for _, n := range t.Inherits {
			if !slices.Contains(all, n) {
				missing("target", n, t.Where("inherits", n))
			} else if cycle := c.inheritCycle(t.Name, nil); cycle != "" {
				diags = append(diags, &hcl.Diagnostic{
					Severity: hcl.DiagError,
					Summary:  "Circular inheritance",
					Detail:   "The target inherits from itself: " + cycle + ".",
					Subject:  t.Where("inherits", n),
				})
				break
			}
		}
	}
	return diags
}

func (c *Config) inheritCycle(name string, below []string) string {
	if slices.Contains(below, name) {
		return strings.Join(append(below, name), " → ")
	}
	t := c.target(name)
	if t == nil {
		return ""
	}
	for _, n := range t.Inherits {
		if cycle := c.inheritCycle(n, append(below[:len(below):len(below)], name)); cycle != "" {
			return cycle
		}
	}
	return ""
}

func ptr[T any](v T) *T { return &v }
