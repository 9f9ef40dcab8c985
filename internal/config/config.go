// Package config reads targets.hcl and docker bake files and says, all at once
// and with the source line, what in them cannot be meant.
package config

import (
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

	// Files are the names of the files read, in the order they were merged.
	Files []string
	// Sources holds each file read, for showing the lines of a diagnostic.
	Sources map[string]*hcl.File

	// declared are the labels of all target and group blocks.
	declared []string
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

// Target returns the target of that name as its own blocks state it, before
// inheritance, or nil.
func (c *Config) target(name string) *Target {
	for _, t := range c.Targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func (c *Config) group(name string) *Group {
	for _, g := range c.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// Group is a bake `group` block, or the group that a matrix target leaves
// behind under its own name.
type Group struct {
	Name        string   `json:"-" hcl:"name,label" cty:"name"`
	Description string   `json:"description,omitempty" hcl:"description,optional" cty:"description"`
	Targets     []string `json:"targets" hcl:"targets" cty:"targets"`

	Body hcl.Body `json:"-" hcl:",body"`
}
