package release

import (
	"fmt"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/journal"
)

// Name is something that can be asked for by its name.
type Name struct{ Name, Description string }

// Kind is what a Name names.
type Kind string

// The kinds of names.
const (
	TargetNames   Kind = "targets" // and groups
	DeviceNames   Kind = "devices"
	WorkerNames   Kind = "workers"
	PlatformNames Kind = "platforms"
	ReleaseNames  Kind = "releases" // those made here, the newest first
	CheckNames    Kind = "checks"   // of the audit
)

// Names lists what can be asked for, as far as it is known without asking
// anybody: what cannot be read gives none.
func (w *Workspace) Names(kind Kind) []Name {
	switch kind {
	case CheckNames:
		var out []Name
		for _, id := range config.AuditChecks {
			out = append(out, Name{Name: id})
		}
		return out
	case ReleaseNames:
		return w.releaseNames()
	}
	c, diags := config.Load(config.Options{Dir: w.Dir, Files: w.files(), LookupEnv: w.LookupEnv, Environ: w.Environ})
	if diags.HasErrors() {
		return nil
	}
	var out []Name
	switch kind {
	case TargetNames:
		for _, t := range c.Targets {
			out = append(out, Name{t.Name, t.Description})
		}
		for _, g := range c.Groups {
			d := g.Description
			if d == "" {
				d = strings.Join(g.Targets, ", ")
			}
			out = append(out, Name{g.Name, d})
		}
		out = slices.DeleteFunc(out, func(n Name) bool { return strings.HasPrefix(n.Name, "_") })
	case DeviceNames:
		for _, d := range c.Devices {
			at := d.Host
			if d.Worker != "" {
				at = "worker " + d.Worker
			}
			out = append(out, Name{d.Name, at})
		}
	case WorkerNames:
		for _, worker := range c.Workers {
			out = append(out, Name{worker.Name, worker.Address})
		}
	case PlatformNames:
		for _, t := range c.Everything() {
			for _, list := range t.Platforms {
				for _, name := range strings.Split(list, ",") {
					if p, err := config.ParsePlatform(name); err == nil {
						out = append(out, Name{Name: config.FormatPlatform(p)})
					}
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Name) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b Name) bool { return a.Name == b.Name })
}

func (w *Workspace) releaseNames() []Name {
	records, err := w.journal.All(func(string, error) {})
	if err != nil {
		return nil
	}
	slices.Reverse(records)
	var out []Name
	for _, r := range records {
		if !r.Reached(journal.Promoted) || len(r.Moves) == 0 {
			continue
		}
		var tags []string
		for _, m := range r.Moves {
			if m.Platform == "" {
				tags = append(tags, m.Tag[strings.LastIndex(m.Tag, "/")+1:])
			}
		}
		out = append(out, Name{r.ID, fmt.Sprintf("%s: %s", r.Kind, strings.Join(tags, ", "))})
	}
	return out
}
