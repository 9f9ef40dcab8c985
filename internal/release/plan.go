package release

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/ui"
)

// PlanOptions say how to show a plan.
type PlanOptions struct {
	Selection
	JSON bool
	// Print gives the form of `docker buildx bake --print`.
	Print bool
	// List shows "targets" or "variables" instead, as bake's --list does.
	List string
}

// Plan shows what a release would do. Nothing is connected to.
func (w *Workspace) Plan(o PlanOptions) error {
	if o.Print || o.List != "" {
		return w.printBake(o)
	}
	c, p, err := w.Load(o.Selection)
	if err != nil {
		return err
	}
	if diags := w.checkInputs(p, c.Sources); diags.HasErrors() {
		return &InputError{Diags: diags, Sources: c.Sources}
	}
	if o.JSON {
		return w.writeJSON(planView(p))
	}
	if err := ui.Diagnostics(w.Streams.Err, append(p.Notes(), p.Warnings...), c.Sources); err != nil {
		return err
	}
	return w.showPlan(p)
}

// printBake shows what bake shows, judged as bake judges it: what only a release
// refuses is no matter here.
func (w *Workspace) printBake(o PlanOptions) error {
	c, err := w.read(o.Selection)
	if err != nil {
		return err
	}
	if o.List != "" {
		return w.list(c, o)
	}
	s, diags := c.ReadAsBake(o.Targets, w.Set)
	if err := w.judge(c, diags); err != nil {
		return err
	}
	b, diags := c.Bake(s, build.Remote)
	if err := w.judge(c, diags); err != nil {
		return err
	}
	return w.writeJSON(b)
}

type listedTarget struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Group       bool   `json:"group,omitempty"`
}

// list shows the targets and groups, or the variables with their values.
func (w *Workspace) list(c *config.Config, o PlanOptions) error {
	out := w.Streams.Out
	switch o.List {
	case "targets":
		var all []listedTarget
		for _, t := range c.Targets {
			all = append(all, listedTarget{Name: t.Name, Description: t.Description})
		}
		for _, g := range c.Groups {
			d := strings.Join(slices.Sorted(slices.Values(g.Targets)), ", ")
			if g.Description != "" {
				d = g.Description + " (" + d + ")"
			}
			all = append(all, listedTarget{Name: g.Name, Description: d, Group: true})
		}
		all = slices.DeleteFunc(all, func(l listedTarget) bool { return strings.HasPrefix(l.Name, "_") })
		slices.SortStableFunc(all, func(a, b listedTarget) int { return strings.Compare(a.Name, b.Name) })
		if o.JSON {
			return w.writeJSON(all)
		}
		table := ui.NewTable(ui.Column{Title: "TARGET"}, ui.Column{Title: "DESCRIPTION"})
		for _, l := range all {
			table.Row(out.Bold(l.Name), l.Description)
		}
		return table.Write(out)
	case "variables":
		if o.JSON {
			return w.writeJSON(c.Variables)
		}
		table := ui.NewTable(ui.Column{Title: "VARIABLE"}, ui.Column{Title: "TYPE"}, ui.Column{Title: "VALUE"}, ui.Column{Title: "DESCRIPTION"})
		for _, v := range c.Variables {
			value := "<null>"
			if v.Value != nil {
				value = *v.Value
			}
			table.Row(out.Bold(v.Name), v.Type, value, v.Description)
		}
		return table.Write(out)
	}
	return usage("Invalid -list", fmt.Errorf("%q is neither targets nor variables", o.List))
}

// planJSON is what `mage plan -json` prints. The fields are stable.
type planJSON struct {
	Files   []string         `json:"files"`
	Targets []planTargetJSON `json:"targets"`
	Devices []string         `json:"devices,omitempty"`
}

type planTargetJSON struct {
	Name string `json:"name"`
	// Linked targets are built because another needs them.
	Linked bool     `json:"linked,omitempty"`
	Tags   []string `json:"tags"`
	// ArchTags are the tags of single platforms, which move as well.
	ArchTags []string        `json:"archTags,omitempty"`
	Needs    []string        `json:"needs,omitempty"`
	Builds   []planBuildJSON `json:"builds"`
	// Outputs are the files that it is written to, as type:path.
	Outputs []string `json:"outputs,omitempty"`
	// Call is what its frontend is asked instead of building.
	Call string `json:"call,omitempty"`
	// Sources are the images that it is made of, instead of builds.
	Sources []string `json:"sources,omitempty"`
}

type planBuildJSON struct {
	Platform   string `json:"platform"`
	Repository string `json:"repository"`
	Context    string `json:"context"`
	Dockerfile string `json:"dockerfile"`
	Target     string `json:"target,omitempty"`
	// Workers that may build it, as far as targets.hcl tells, and how: native,
	// emulated, or if it reports so.
	Workers map[string]string `json:"workers"`
	// Needs are the builds that come before, by context name.
	Needs    map[string]string `json:"needs,omitempty"`
	Optional bool              `json:"optional,omitempty"`
}

func planView(p *plan.Plan) planJSON {
	out := planJSON{Files: p.Files}
	for _, d := range p.Devices {
		out.Devices = append(out.Devices, d.Name)
	}
	for _, t := range p.Targets {
		tj := planTargetJSON{Name: t.Name, Linked: t.Linked, Tags: []string{}, Builds: []planBuildJSON{}, Sources: t.Sources, Call: t.Call}
		for _, tag := range t.Tags {
			tj.Tags = append(tj.Tags, tag.String())
		}
		for _, o := range t.Outputs {
			tj.Outputs = append(tj.Outputs, o.Type+":"+o.Dest)
		}
		if !t.Linked {
			tj.ArchTags = archTags(p, t)
		}
		for _, n := range t.Needs {
			tj.Needs = append(tj.Needs, n.Name)
		}
		for _, b := range t.Builds {
			bj := planBuildJSON{
				Platform: b.PlatformName(), Repository: b.Repository, Optional: b.Optional,
				Context: *b.Spec.Context, Dockerfile: *b.Spec.Dockerfile, Workers: map[string]string{},
			}
			if b.Spec.Target != nil {
				bj.Target = *b.Spec.Target
			}
			for _, c := range p.Candidates(b.Platform) {
				bj.Workers[c.Name] = plan.Fit(c, b.Platform)
			}
			for name, need := range b.Needs {
				if bj.Needs == nil {
					bj.Needs = map[string]string{}
				}
				bj.Needs[name] = need.ID()
			}
			tj.Builds = append(tj.Builds, bj)
		}
		out.Targets = append(out.Targets, tj)
	}
	return out
}

// showWrites tells what of a target goes to files, or nowhere.
func (w *Workspace) showWrites(t *plan.Target) {
	out := w.Streams.Out
	for _, o := range t.Outputs {
		fmt.Fprintf(out, "%s is written to %s (%s)\n", out.Bold(t.Name), o.Dest, o.Type)
	}
	if t.Called != nil {
		fmt.Fprintf(out, "%s is not built: its frontend is asked for %s\n", out.Bold(t.Name), t.Call)
		return
	}
	if len(t.Outputs) == 0 && !t.Linked {
		fmt.Fprintf(out, "%s is built and goes nowhere (cacheonly)\n", out.Bold(t.Name))
	}
}

func (w *Workspace) showPlan(p *plan.Plan) error {
	out := w.Streams.Out
	table := ui.NewTable(ui.Column{Title: "TARGET"}, ui.Column{Title: "PLATFORM", Keep: true}, ui.Column{Title: "FROM"}, ui.Column{Title: "WORKERS"}, ui.Column{Title: "AFTER"})
	for _, t := range p.Targets {
		for i, ref := range t.Sources {
			name := any(out.Bold(t.Name))
			if i > 0 {
				name = ""
			}
			table.Row(name, "", ref, "", "")
		}
		for i, b := range t.Builds {
			name := any(out.Bold(t.Name))
			if i > 0 {
				name = ""
			}
			from := *b.Spec.Context
			if d := *b.Spec.Dockerfile; d != "Dockerfile" {
				from += " (" + d + ")"
			}
			var workers, after []string
			for _, c := range p.Candidates(b.Platform) {
				workers = append(workers, c.Name+" "+plan.Fit(c, b.Platform))
			}
			for _, n := range slices.Sorted(maps.Keys(b.Needs)) {
				after = append(after, b.Needs[n].ID())
			}
			platform := b.PlatformName()
			if b.Optional {
				platform += " (optional)"
			}
			table.Row(name, platform, from, strings.Join(workers, ", "), strings.Join(after, ", "))
		}
	}
	if err := table.Write(out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, t := range p.Targets {
		if len(t.Outputs) > 0 || !t.Published() {
			w.showWrites(t)
		}
		switch {
		case t.Linked:
			fmt.Fprintf(out, "%s is built for others, not published\n", out.Bold(t.Name))
		case !t.Published():
		case len(t.Tags) == 0:
			fmt.Fprintf(out, "%s has no tags: %s\n", out.Bold(t.Name), out.Warn("it cannot be released"))
		default:
			fmt.Fprintf(out, "%s moves %s:\n", out.Bold(t.Name), count(len(t.Tags)+len(archTags(p, t)), "tag"))
			for _, tag := range t.Tags {
				fmt.Fprintf(out, "  %s\n", tag)
			}
			for _, tag := range archTags(p, t) {
				fmt.Fprintf(out, "  %s  %s\n", tag, out.Faint("one platform"))
			}
		}
	}
	return nil
}
