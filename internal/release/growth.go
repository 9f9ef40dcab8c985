package release

import (
	"context"
	"fmt"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// checkGrowth compares the layers of each platform, as they are transferred, with
// those of the image that the target's first tag, or its latest, points to.
func (w *Workspace) checkGrowth(ctx context.Context, p *plan.Plan, client *registry.Client) error {
	if p.Release.Growth == nil {
		return nil
	}
	var problems []string
	for _, t := range p.Published() {
		d, err := index.Open(w.layout(), t.Name)
		if err != nil {
			return err
		}
		diff, err := index.Diff(ctx, client, d, lastOf(t).String())
		if err != nil {
			return interrupted(ctx, err)
		}
		for _, c := range diff.Changed {
			if l := c.Layers; l != nil && float64(l.ToSize-l.FromSize) > float64(l.FromSize)**p.Release.Growth {
				problems = append(problems, fmt.Sprintf("%s %s grew from %s to %s, by more than %s", t.Name, c.Platform, ui.Bytes(l.FromSize), ui.Bytes(l.ToSize), p.Release.MaxGrowth))
			}
		}
	}
	if len(problems) > 0 {
		return &GrowthError{problems}
	}
	return nil
}

// lastOf is the tag that the release before this one most likely has as well.
func lastOf(t *plan.Target) plan.Tag {
	for _, tag := range t.Tags {
		if tag.Name == "latest" {
			return tag
		}
	}
	for _, tag := range t.Tags {
		if floatingTag.MatchString(tag.Name) {
			return tag
		}
	}
	return t.Tags[len(t.Tags)-1]
}
