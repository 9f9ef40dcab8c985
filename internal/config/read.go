package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Selection are the targets that were asked for and those they are built on,
// with inheritance and overrides resolved as `docker buildx bake` does it:
// nothing else of the files is judged.
type Selection struct {
	// Targets are by name; Order has those asked for, in order, then the linked.
	Targets map[string]*Target
	Order   []string
	// Linked are the targets that only others' contexts name.
	Linked map[string]bool
	// Groups are those that were passed through, and "default" for what was
	// asked for by name.
	Groups map[string]*Group
}

// Read selects targets by the names of targets and groups and by patterns such
// as "app-*"; none means "default". The overrides are bake's --set. A problem
// is reported with the place that it comes from.
func (c *Config) Read(names, set []string) (*Selection, hcl.Diagnostics) {
	asked, err := c.asked(names)
	if err != nil && len(names) == 0 {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nothing to build", Detail: Sentence(err)}}
	}
	if err != nil {
		return nil, option("targets", err)
	}
	over, err := c.parseOverrides(set)
	if err != nil {
		return nil, option("set", err)
	}
	s := &Selection{Targets: map[string]*Target{}, Linked: map[string]bool{}, Groups: map[string]*Group{}}
	var diags hcl.Diagnostics
	for _, n := range asked {
		targets, groups := c.resolveGroup(n, map[string]*visit{})
		for _, name := range uniqueStrings(targets) {
			if s.Targets[name] != nil {
				continue
			}
			if c.target(name) == nil {
				diags = append(diags, c.unknownTarget(name, groups, asked))
				continue
			}
			t, err := c.resolve(name, over)
			if err != nil {
				diags = append(append(diags, c.diagnose(name, err)), c.target(name).Check()...)
				continue
			}
			s.Targets[name] = t
			s.Order = append(s.Order, name)
		}
		for _, g := range uniqueStrings(groups) {
			copied := *c.group(g)
			s.Groups[g] = &copied
		}
	}
	if !diags.HasErrors() {
		s.nameDefault(asked)
	}
	said := map[string]bool{}
	for _, name := range slices.Clone(s.Order) {
		for _, err := range c.loadLinks(s, name, over, nil) {
			if key := problem(err); !said[key] {
				said[key] = true
				diags = append(diags, c.diagnose(name, err))
			}
		}
	}
	if diags.HasErrors() {
		return nil, diags
	}
	return s, diags
}

// Judge reports what is wrong with the targets asked for. It is for a Config
// that has other errors, so that all are shown at once.
func (c *Config) Judge(names, set []string) hcl.Diagnostics {
	if !c.evaluated {
		return nil
	}
	s, diags := c.Read(names, set)
	if s == nil {
		return diags
	}
	for _, n := range s.Order {
		diags = append(diags, s.Targets[n].Check()...)
	}
	return sorted(diags)
}

// asked expands patterns, and gives the default for no name.
func (c *Config) asked(names []string) ([]string, error) {
	if len(names) == 0 {
		if c.group("default") == nil && c.target("default") == nil {
			// A single target leaves no doubt what is meant. Bake has no such
			// default; see ReadAsBake.
			if len(c.Targets) == 1 && len(c.Groups) == 0 {
				return []string{c.Targets[0].Name}, nil
			}
			if len(c.names()) == 0 {
				return nil, fmt.Errorf("there is no target in %s; add a block such as: target \"app\" { tags = [\"registry.example/app:1\"] }", strings.Join(c.Files, ", "))
			}
			return nil, c.noDefault()
		}
		return []string{"default"}, nil
	}
	var out []string
	for _, n := range names {
		matches, err := c.match(strings.ReplaceAll(n, ".", "_"))
		if err != nil {
			return nil, err
		}
		out = append(out, matches...)
	}
	return uniqueStrings(out), nil
}

func (c *Config) noDefault() error {
	return fmt.Errorf("nothing is asked for, and there is no group or target \"default\"; name what to build, or add: group \"default\" { targets = [\"%s\"] }; there are: %s",
		c.names()[0], strings.Join(c.names(), ", "))
}

// ReadAsBake is Read with bake's own rule where nothing is asked for: in its
// files the one target that there is must be named.
func (c *Config) ReadAsBake(names, set []string) (*Selection, hcl.Diagnostics) {
	if len(names) == 0 && !c.own && c.group("default") == nil && c.target("default") == nil && len(c.names()) > 0 {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nothing to build", Detail: Sentence(c.noDefault())}}
	}
	return c.Read(names, set)
}

func (c *Config) match(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[]") {
		if c.target(pattern) != nil || c.group(pattern) != nil {
			return []string{pattern}, nil
		}
		all := c.names()
		if near := nearest(pattern, all); near != "" {
			return nil, fmt.Errorf("there is no target or group %q; did you mean %q?", pattern, near)
		}
		return nil, fmt.Errorf("there is no target or group %q; there are: %s", pattern, strings.Join(all, ", "))
	}
	all := c.names()
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

type visit struct{ targets, groups []string }

// resolveGroup follows a group down to names of targets. A group beats a
// target of its name, but within itself the name is the target's.
func (c *Config) resolveGroup(name string, visited map[string]*visit) (targets, groups []string) {
	if v, ok := visited[name]; ok {
		return v.targets, v.groups
	}
	g := c.group(name)
	if g == nil {
		return []string{name}, nil
	}
	visited[name] = &visit{}
	groups = []string{name}
	for _, n := range g.Targets {
		ts, gs := c.resolveGroup(n, visited)
		if len(ts) == 0 {
			ts = []string{n}
		}
		targets = append(targets, ts...)
		groups = append(groups, gs...)
	}
	visited[name] = &visit{targets, groups}
	return targets, groups
}

// nameDefault writes what was asked for into the group "default", as bake
// prints it.
func (s *Selection) nameDefault(asked []string) {
	for _, n := range asked {
		d := s.Groups["default"]
		if d != nil && n == "default" {
			continue
		}
		if d == nil {
			d = &Group{Name: "default"}
			s.Groups["default"] = d
		}
		d.Targets = append(slices.Clone(d.Targets), n)
	}
	if d := s.Groups["default"]; d != nil {
		d.Targets = slices.Clone(d.Targets)
		slices.Sort(d.Targets)
		d.Targets = slices.Compact(d.Targets)
	}
}

// resolve gives the target with what it inherits, its own blocks and its
// overrides, and bake's defaults for context and dockerfile.
func (c *Config) resolve(name string, over overrides) (*Target, error) {
	t, err := c.inherit(name, map[string]*Target{}, over)
	if err != nil {
		return nil, err
	}
	out := *t
	out.Inherits = nil
	if out.Context == nil {
		out.Context = ptr(".")
	}
	if out.Dockerfile == nil || *out.Dockerfile == "" {
		out.Dockerfile = ptr("Dockerfile")
	}
	return &out, nil
}

// Resolve gives the target as it is built without overrides.
func (c *Config) Resolve(name string) (*Target, error) { return c.resolve(name, nil) }

// unknownName is a target that is named and not there.
type unknownName struct{ by, attr, name string }

func (e *unknownName) Error() string { return fmt.Sprintf("there is no target %q", e.name) }

// inherit merges the parents, each once, then the target itself. A circle is
// passed over, as in bake.
func (c *Config) inherit(name string, visited map[string]*Target, over overrides) (*Target, error) {
	if t, ok := visited[name]; ok {
		return t, nil
	}
	visited[name] = nil
	own := c.target(name)
	t := &Target{Name: name}
	for _, parent := range own.Inherits {
		if c.target(parent) == nil {
			return nil, &unknownName{name, "inherits", parent}
		}
		p, err := c.inherit(parent, visited, over)
		if err != nil {
			return nil, err
		}
		if p != nil {
			t.Merge(p)
		}
	}
	t.Merge(own)
	t.Name, t.base = name, own.base
	if err := t.apply(over[name]); err != nil {
		return nil, err
	}
	t.normalize()
	visited[name] = t
	return t, nil
}

// loadLinks adds the targets that name's contexts refer to. One that nobody
// asked for is built without being published: its output is cacheonly.
func (c *Config) loadLinks(s *Selection, name string, over overrides, visited []string) []error {
	var errs []error
	visited = append(visited[:len(visited):len(visited)], name)
	t := s.Targets[name]
	for _, base := range t.Bases() {
		if slices.Contains(visited, base) {
			i := slices.Index(visited, base)
			return append(errs, &circle{append(visited[i:len(visited):len(visited)], base)})
		}
		if c.target(base) == nil {
			errs = append(errs, &unknownName{name, "contexts", base})
			continue
		}
		if s.Targets[base] == nil {
			linked, err := c.resolve(base, over)
			if err != nil {
				return append(errs, err)
			}
			linked.Outputs = Outputs{{"type": "cacheonly"}}
			s.Targets[base], s.Linked[base] = linked, true
			s.Order = append(s.Order, base)
		}
		if inner := c.loadLinks(s, base, over, visited); len(inner) > 0 {
			return append(errs, inner...)
		}
		b := s.Targets[base]
		for _, e := range b.Entitlements {
			if !slices.Contains(t.Entitlements, e) {
				t.Entitlements = append(t.Entitlements[:len(t.Entitlements):len(t.Entitlements)], e)
			}
		}
	}
	return errs
}

// circle are targets whose contexts name each other.
type circle struct{ names []string }

// problem is the same for one mistake that was met on several ways.
func problem(err error) string {
	var round *circle
	if errors.As(err, &round) {
		names := slices.Clone(round.names[1:])
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	var unknown *unknownName
	if errors.As(err, &unknown) {
		return unknown.by + " " + unknown.name
	}
	return err.Error()
}

func (e *circle) Error() string { return strings.Join(e.names, " → ") }

// diagnose finds the place of an error that reading target name gave.
func (c *Config) diagnose(name string, err error) *hcl.Diagnostic {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid target", Detail: fmt.Sprintf("Target %q: %s.", name, err)}
	var unknown *unknownName
	var round *circle
	switch {
	case errors.As(err, &unknown):
		d.Summary = "Unknown target"
		d.Detail = fmt.Sprintf("The %s of target %q name target %q, which is not there.%s", unknown.attr, unknown.by, unknown.name, c.didYouMean(unknown.name))
		if unknown.attr == "inherits" {
			d.Detail = fmt.Sprintf("There is no target %q for target %q to inherit from.%s", unknown.name, unknown.by, c.didYouMean(unknown.name))
			d.Subject = c.target(unknown.by).Where("inherits", unknown.name)
		} else {
			d.Subject = c.target(unknown.by).Where("contexts", "")
		}
	case errors.As(err, &round):
		d.Summary = "Circular contexts"
		d.Detail = fmt.Sprintf("The targets build on each other in a circle: %s. Break it by making one of the contexts an image.", err)
		d.Subject = c.target(round.names[0]).Where("contexts", "")
	}
	return d
}

func (c *Config) didYouMean(name string) string {
	if near := nearest(name, c.names()); near != "" {
		return fmt.Sprintf(" Did you mean %q?", near)
	}
	if all := c.names(); len(all) > 0 && len(all) <= 20 {
		return fmt.Sprintf(" There are: %s.", strings.Join(all, ", "))
	}
	return ""
}

// unknownTarget names the group that has a member which is not there.
func (c *Config) unknownTarget(name string, groups, asked []string) *hcl.Diagnostic {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown target", Detail: fmt.Sprintf("There is no target %q.%s", name, c.didYouMean(name))}
	for _, g := range groups {
		if i := slices.Index(c.group(g).Targets, name); i >= 0 {
			d.Summary = "Unknown target or group"
			d.Detail = fmt.Sprintf("Group %q names %q, which is not there.%s", g, name, c.didYouMean(name))
			if c.group(name) != nil {
				d.Detail = fmt.Sprintf("Group %q comes to itself through %q, and there is no target of that name.", name, g)
			}
			if c.group(g).Body != nil {
				d.Subject = at(c.group(g).Body, "targets", i)
			}
			return d
		}
	}
	return d
}

func option(flag string, err error) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Invalid -" + flag, Detail: Sentence(err)}}
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

func ptr[T any](v T) *T { return &v }
