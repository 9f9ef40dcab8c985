package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Build makes every platform and pushes it by digest; no tag moves.
func Build(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	platforms *string, // only these platforms: linux/arm64,linux/arm/v6
	fresh *bool, // build anew, whatever earlier runs have built
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Build(ctx, release.BuildOptions{
			Selection: release.Selection{Targets: list(targets), Platforms: list(platforms)}, Fresh: set(fresh),
		})
	})
}
