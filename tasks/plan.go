package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Plan shows what a release would do: which platform on which worker, which tags.
func Plan(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	platforms *string, // only these platforms: linux/arm64,linux/arm/v6
	json *bool, // for machines
	print *bool, // in the form of docker buildx bake --print
	why *bool, // what would be built, and what changed since it was built last
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		o := release.PlanOptions{
			Selection: release.Selection{Targets: list(targets), Platforms: list(platforms)},
			JSON:      set(json), Print: set(print),
		}
		if set(why) {
			return w.Why(ctx, o)
		}
		return w.Plan(o)
	})
}
