package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// Options narrow a plan.
type Options struct {
	// Targets are names and patterns of targets and groups; none means the
	// default ones.
	Targets []string
	// Platforms limit the builds; none means all.
	Platforms []string
	// Set are bake's --set: target.key=value.
	Set []string
}

// New makes the plan. What the configuration cannot mean is reported with the
// place it stands at; what the options cannot mean, without one.
func New(c *config.Config, o Options) (*Plan, hcl.Diagnostics) {
	p := &planner{
		config: c,
		plan: &Plan{
			Workers: c.Workers, Registries: c.Registries, Devices: c.Devices, Release: c.Release, Audit: c.Audit, Hooks: c.Hooks, Files: c.Files,
		},
		targets: map[string]*Target{},
	}
	if len(p.plan.Workers) == 0 {
		p.plan.Workers = []*config.Worker{{Name: "auto", Address: "auto", Push: "worker"}}
	}
	selection, diags := c.Read(o.Targets, o.Set)
	p.diags = append(p.diags, diags...)
	if diags.HasErrors() {
		return p.plan, p.diags
	}
	p.selection = selection
	only := p.platforms(o.Platforms)
	for _, n := range selection.Order {
		p.diags = append(p.diags, selection.Targets[n].Check()...)
		p.diags = append(p.diags, c.DropInactiveCaches(selection.Targets[n])...)
	}
	for _, n := range selection.Order {
		p.add(n)
	}
	if len(selection.Order) == 0 {
		p.empty()
	}
	if p.diags.HasErrors() {
		return p.plan, p.diags
	}
	p.spread()
	p.place()
	p.override()
	p.link()
	p.narrow(only)
	p.check(only)
	return p.plan, p.diags
}

type planner struct {
	config    *config.Config
	selection *config.Selection
	plan      *Plan
	targets   map[string]*Target
	diags     hcl.Diagnostics
}

// empty refuses a release of nothing, which would say that it released.
func (p *planner) empty() {
	var at *hcl.Range
	var names []string
	for _, g := range p.config.Groups {
		if p.selection.Groups[g.Name] == nil {
			continue
		}
		names = append(names, fmt.Sprintf("%q", g.Name))
		if at == nil {
			at = g.Where()
		}
	}
	p.fail(at, "Nothing to build", "The group %s names no target, so there is nothing to do. Add targets to it, or ask for others with -targets.", strings.Join(names, ", "))
}

func (p *planner) option(flag string, err error) {
	p.diags = append(p.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Invalid -" + flag,
		Detail:   config.Sentence(err),
	})
}

func (p *planner) fail(subject *hcl.Range, summary, format string, args ...any) {
	p.diags = append(p.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: subject})
}

func (p *planner) platforms(names []string) []ocispecs.Platform {
	var out []ocispecs.Platform
	for _, n := range names {
		pl, err := config.ParsePlatform(n)
		if err != nil {
			p.option("platforms", err)
			continue
		}
		out = append(out, pl)
	}
	return out
}

// add takes a target of the selection and, before it, those it builds on.
func (p *planner) add(name string) *Target {
	if t, ok := p.targets[name]; ok {
		return t
	}
	spec := p.selection.Targets[name]
	t := &Target{Name: name, Spec: spec, Linked: p.selection.Linked[name]}
	p.targets[name] = t
	for _, base := range spec.Bases() {
		t.Needs = append(t.Needs, p.add(base))
	}
	for _, s := range spec.Tags {
		tag, err := parseTag(s)
		if err != nil {
			continue // Check has reported it
		}
		if !slices.Contains(t.Tags, tag) {
			t.Tags = append(t.Tags, tag)
		}
	}
	t.Sources = spec.Sources
	p.outputs(t)
	p.plan.Targets = append(p.plan.Targets, t)
	return t
}

// spread gives a base that names no platform those of the targets built on it:
// the machine's own would put its architecture into every child.
func (p *planner) spread() {
	own := map[*Target]bool{}
	for _, t := range p.plan.Targets {
		own[t] = len(t.Spec.Platforms) > 0
	}
	for _, t := range slices.Backward(p.plan.Targets) {
		for _, base := range t.Needs {
			if own[base] || !base.Linked {
				continue
			}
			for _, pl := range t.Spec.PlatformSpecs() {
				if name := config.FormatPlatform(pl); !slices.Contains(base.Spec.Platforms, name) {
					base.Spec.Platforms = append(base.Spec.Platforms, name)
				}
			}
		}
	}
}

// place finds the repository that takes a target's builds, where one is
// published or what is published is built on it: its own first one, or that of a
// target built on it.
func (p *planner) place() {
	repo := map[*Target]string{}
	pushed, needed := map[*Target]bool{}, map[*Target]bool{}
	for _, t := range slices.Backward(p.plan.Targets) {
		pushed[t] = pushed[t] || t.Published()
		if pushed[t] && len(t.Tags) > 0 {
			repo[t] = t.Tags[0].Repository
		}
		for _, base := range t.Needs {
			needed[base] = true
			pushed[base] = pushed[base] || pushed[t]
			if repo[base] == "" {
				repo[base] = repo[t]
			}
		}
	}
	for _, t := range p.plan.Targets {
		if len(t.Sources) > 0 {
			t.Platforms = t.Spec.PlatformSpecs()
			continue
		}
		if t.Call != "" && !needed[t] {
			t.Called = &Build{Target: t, Platform: t.Spec.PlatformSpecs()[0], Spec: t.Spec}
			continue
		}
		for _, pl := range t.Spec.PlatformSpecs() {
			t.Builds = append(t.Builds, &Build{Target: t, Platform: pl, Repository: repo[t], Passed: needed[t] && !pushed[t]})
		}
	}
}

// override lays the platform blocks over the targets.
func (p *planner) override() {
	for _, t := range p.plan.Targets {
		for _, b := range t.Builds {
			spec := *t.Spec
			b.Spec = &spec
			for _, o := range t.Spec.Overrides {
				if config.FormatPlatform(o.Platform) != b.PlatformName() {
					continue
				}
				apply(b, o)
			}
		}
		for _, o := range t.Spec.Overrides {
			if len(t.Sources) > 0 && len(t.Platforms) == 0 {
				continue // which platforms it has is known once the sources are read
			}
			if !contains(t.Spec.PlatformSpecs(), o.Platform) {
				p.fail(o.Body.MissingItemRange().Ptr(), "Platform block without its platform",
					"Target %q is not built for %s: it is built for %s. Add it to platforms, or remove the block.", t.Name, config.FormatPlatform(o.Platform), strings.Join(platformNames(t), ", "))
			}
		}
	}
}

// narrow keeps the builds for the platforms asked for and what they need.
func (p *planner) narrow(only []ocispecs.Platform) {
	if len(only) == 0 {
		return
	}
	for _, t := range p.plan.Targets {
		if len(t.Sources) == 0 {
			continue
		}
		t.Partial = true
		if len(t.Platforms) == 0 {
			t.Platforms = slices.Clone(only)
			continue
		}
		t.Platforms = slices.DeleteFunc(t.Platforms, func(pl ocispecs.Platform) bool { return !contains(only, pl) })
	}
	keep := map[*Build]bool{}
	for _, t := range slices.Backward(p.plan.Targets) {
		t.Builds = slices.DeleteFunc(t.Builds, func(b *Build) bool {
			return !keep[b] && (t.Linked || !contains(only, b.Platform))
		})
		for _, b := range t.Builds {
			for _, n := range b.Needs {
				keep[n] = true
			}
		}
	}
}

func apply(b *Build, o *config.PlatformOverride) {
	if len(o.Args) > 0 {
		b.Spec.Args = maps.Clone(b.Spec.Args)
		if b.Spec.Args == nil {
			b.Spec.Args = map[string]*string{}
		}
		for k, v := range o.Args {
			if v == nil {
				delete(b.Spec.Args, k)
				continue
			}
			b.Spec.Args[k] = v
		}
	}
	if o.Context != nil {
		b.Spec.Context = o.Context
	}
	if o.Dockerfile != nil {
		b.Spec.Dockerfile = o.Dockerfile
	}
	if o.Target != nil {
		b.Spec.Target = o.Target
	}
	if o.OSVersion != nil {
		b.OSVersion = *o.OSVersion
	}
	b.OSFeatures = o.OSFeatures
	b.Optional = o.Optional != nil && *o.Optional
}

// link finds, platform by platform, what each build waits for. A base with a
// single platform serves all, as in bake.
func (p *planner) link() {
	for _, t := range p.plan.Targets {
		for _, b := range t.Builds {
			for name, value := range b.Spec.Contexts {
				base, ok := strings.CutPrefix(value, "target:")
				if !ok {
					continue
				}
				bt := p.targets[base]
				if len(bt.Sources) > 0 {
					p.fail(t.Spec.Where("contexts", ""), "Base that is not built",
						"Target %q builds on target %q, which is made of images that exist. Name the image itself: contexts = { %s = \"docker-image://…\" }.", t.Name, base, name)
					continue
				}
				i := slices.IndexFunc(bt.Builds, func(c *Build) bool { return c.PlatformName() == b.PlatformName() })
				if i < 0 && len(bt.Spec.PlatformSpecs()) == 1 && len(bt.Builds) == 1 {
					i = 0
				}
				if i < 0 {
					p.fail(t.Spec.Where("contexts", ""), "Base without the platform",
						"Target %q builds on target %q for %s, which is built only for %s. Add the platform to %q.", t.Name, base, b.PlatformName(), strings.Join(platformNames(bt), ", "), base)
					continue
				}
				if b.Needs == nil {
					b.Needs = map[string]*Build{}
				}
				b.Needs[name] = bt.Builds[i]
			}
		}
	}
}

func platformNames(t *Target) []string {
	var out []string
	for _, pl := range t.Spec.PlatformSpecs() {
		out = append(out, config.FormatPlatform(pl))
	}
	return out
}
