package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Bake is the form of `docker buildx bake --print`.
type Bake struct {
	Group  map[string]*Group  `json:"group,omitempty"`
	Target map[string]*Target `json:"target"`
}

// Bake gives the selected targets, and those they build on, as bake prints
// them. Names are as for Select.
func (c *Config) Bake(names []string) (*Bake, error) {
	selected, err := c.Select(names)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = []string{"default"}
		if c.group("default") == nil && c.target("default") == nil {
			names = selected
		}
	}
	out := &Bake{Group: map[string]*Group{}, Target: map[string]*Target{}}
	var asked []string
	for _, n := range names {
		matches, err := c.match(n)
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			asked = append(asked, m)
			c.groupsBelow(m, out.Group)
		}
	}
	if _, ok := out.Group["default"]; !ok {
		out.Group["default"] = &Group{Name: "default"}
	}
	for _, n := range asked {
		if n != "default" || c.group("default") == nil {
			g := *out.Group["default"]
			g.Targets = append(slices.Clone(g.Targets), n)
			out.Group["default"] = &g
		}
	}
	def := *out.Group["default"]
	def.Targets = uniqueStrings(def.Targets)
	slices.Sort(def.Targets)
	out.Group["default"] = &def

	for len(selected) > 0 {
		name := selected[0]
		selected = selected[1:]
		if out.Target[name] != nil {
			continue
		}
		t, err := c.Resolve(name)
		if err != nil {
			return nil, err
		}
		out.Target[name] = t
		for _, base := range t.Bases() {
			if out.Target[base] == nil && !slices.Contains(selected, base) {
				linked, err := c.Resolve(base)
				if err != nil {
					return nil, err
				}
				linked.Outputs = Outputs{{"type": "cacheonly"}}
				out.Target[base] = linked
				selected = append(selected, linked.Bases()...)
			}
		}
	}
	return out, nil
}

func (c *Config) groupsBelow(name string, out map[string]*Group) {
	g := c.group(name)
	if g == nil || out[name] != nil {
		return
	}
	out[name] = g
	for _, t := range g.Targets {
		c.groupsBelow(t, out)
	}
}

// Bases are the targets that this one names in its contexts, sorted.
func (t *Target) Bases() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(t.Contexts)) {
		if base, ok := strings.CutPrefix(t.Contexts[k], "target:"); ok {
			out = append(out, base)
		}
	}
	return uniqueStrings(out)
}

// MarshalJSON escapes what HCL would take for a template, as bake does, so
// that the output can be read back as a bake file.
func (t *Target) MarshalJSON() ([]byte, error) {
	type plain Target
	c := plain(*t)
	esc := strings.NewReplacer("${", "$${", "%{", "%%{").Replace
	c.Annotations = slices.Clone(t.Annotations)
	for i, a := range c.Annotations {
		c.Annotations[i] = esc(a)
	}
	if t.DockerfileInline != nil {
		c.DockerfileInline = ptr(esc(*t.DockerfileInline))
	}
	for _, m := range []*map[string]*string{&c.Args, &c.Labels, &c.ExtraHosts} {
		*m = maps.Clone(*m)
		for k, v := range *m {
			if v != nil {
				(*m)[k] = ptr(esc(*v))
			}
		}
	}
	return json.Marshal(c)
}
