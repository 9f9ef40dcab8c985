package release

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/ui"
)

// PlanOptions say how to show a plan.
type PlanOptions struct {
	Selection
	JSON bool
	// Print gives the form of `docker buildx bake --print`.
	Print bool
}

// Plan shows what a release would do. Nothing is connected to.
func (w *Workspace) Plan(o PlanOptions) error {
	c, p, err := w.Load(o.Selection)
	if err != nil {
		return err
	}
	if !o.Print {
		if diags := w.checkInputs(p, c.Sources); diags.HasErrors() {
			return &InputError{Diags: diags, Sources: c.Sources}
		}
	}
	switch {
	case o.Print:
		b, err := c.Bake(o.Targets)
		if err != nil {
			return fmt.Errorf("printing the targets: %w", err)
		}
		return w.writeJSON(b)
	case o.JSON:
		return w.writeJSON(planView(p))
	}
	if err := ui.Diagnostics(w.Streams.Err, p.Warnings, c.Sources); err != nil {
		return err
	}
	return w.showPlan(p)
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
	Linked bool            `json:"linked,omitempty"`
	Tags   []string        `json:"tags"`
	Needs  []string        `json:"needs,omitempty"`
	Builds []planBuildJSON `json:"builds"`
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
		tj := planTargetJSON{Name: t.Name, Linked: t.Linked, Tags: []string{}, Builds: []planBuildJSON{}, Sources: t.Sources}
		for _, tag := range t.Tags {
			tj.Tags = append(tj.Tags, tag.String())
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
		switch {
		case t.Linked:
			fmt.Fprintf(out, "%s is built for others, not published\n", out.Bold(t.Name))
		case len(t.Tags) == 0:
			fmt.Fprintf(out, "%s has no tags: %s\n", out.Bold(t.Name), out.Warn("it cannot be released"))
		default:
			var tags []string
			for _, tag := range t.Tags {
				tags = append(tags, tag.String())
			}
			fmt.Fprintf(out, "%s goes to %s\n", out.Bold(t.Name), strings.Join(tags, ", "))
		}
	}
	return nil
}
