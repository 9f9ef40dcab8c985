package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// PlanOptions say what to show of a plan, and how.
type PlanOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
	// Platforms limit it; none means all.
	Platforms []string
	JSON      bool
	// Print is the form of docker buildx bake --print.
	Print bool
	// Why says what would be built, and what changed since it was built last.
	Why bool
	// List is "targets" or "variables": what there is, not what is asked for.
	List string
}

// Plan shows what a release would do: which platform on which worker, which tags.
func Plan(ctx context.Context, options ...PlanOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o PlanOptions) error {
		p := release.PlanOptions{
			Selection: release.Selection{Targets: o.Targets, Platforms: o.Platforms, Files: o.Files},
			JSON:      o.JSON, Print: o.Print, List: o.List,
		}
		if o.Why {
			return w.Why(ctx, p)
		}
		return w.Plan(p)
	})
}
