// Package config reads targets.hcl and docker bake files and says, all at once
// and with the source line, what in them cannot be meant.
package config

import (
	"slices"

	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"
)

// Config is what the files say after variables, functions, matrix and
// inheritance are resolved. It does not change once loaded.
type Config struct {
	// Groups and Targets are in the order of the files.
	Groups  []*Group
	Targets []*Target

	Workers    []*Worker
	Registries []*Registry
	Devices    []*Device
	Release    Release
	Audit      *Audit // nil without a block
	Hooks      []*Hook

	// Files are the names of the files read, in the order they were merged.
	Files []string
	// Sources holds each file read, for showing the lines of a diagnostic.
	Sources map[string]*hcl.File

	// Variables are those of the files, with the values they have.
	Variables []*hclparser.Variable

	dir    string
	lookup func(string) (string, bool)
	// evaluated reports whether targets can be read.
	evaluated bool
	// own reports whether one of the files is a targets.hcl.
	own     bool
	targets map[string]*Target
	groups  map[string]*Group
}

// Worker returns the worker block of that name, or nil.
func (c *Config) Worker(name string) *Worker {
	for _, w := range c.Workers {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// target returns the target of that name as its own blocks state it, before
// inheritance, or nil.
func (c *Config) target(name string) *Target { return c.targets[name] }

func (c *Config) group(name string) *Group { return c.groups[name] }

// addTarget merges t into the target of its name, as bake does.
func (c *Config) addTarget(t *Target) {
	if had := c.targets[t.Name]; had != nil {
		had.Merge(t)
		return
	}
	c.targets[t.Name] = t
	c.Targets = append(c.Targets, t)
}

// addGroup replaces the group of its name.
func (c *Config) addGroup(g *Group) {
	if _, ok := c.groups[g.Name]; ok {
		i := slices.IndexFunc(c.Groups, func(had *Group) bool { return had.Name == g.Name })
		c.Groups[i] = g
	} else {
		c.Groups = append(c.Groups, g)
	}
	c.groups[g.Name] = g
}

// Group is a bake `group` block, or the group that a matrix target leaves
// behind under its own name.
type Group struct {
	Name        string   `json:"-" hcl:"name,label" cty:"name"`
	Description string   `json:"description,omitempty" hcl:"description,optional" cty:"description"`
	Targets     []string `json:"targets" hcl:"targets" cty:"targets"`

	Body hcl.Body `json:"-" hcl:",body"`
}

// GetEvalContexts refuses what groups do not have. It is called by hclparser.
func (g *Group) GetEvalContexts(base *hcl.EvalContext, block *hcl.Block, _ func(hcl.Expression) hcl.Diagnostics) ([]*hcl.EvalContext, error) {
	for _, name := range []string{"matrix", "name"} {
		if attr := blockAttr(block.Body, name); attr != nil {
			return nil, attrError(attr, "Group with "+name, "The attribute "+name+" is for targets; a group has targets and description.")
		}
	}
	return []*hcl.EvalContext{base}, nil
}

// Where is the place of the group's targets; nil for a group that is no block.
func (g *Group) Where() *hcl.Range {
	if g.Body == nil {
		return nil
	}
	return at(g.Body, "targets", -1)
}
