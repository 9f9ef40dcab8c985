package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Build makes every platform and pushes it by digest; no tag moves.
func Build(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	platforms *string, // only these platforms: linux/arm64,linux/arm/v6
	fresh *bool, // build again, whatever earlier runs have built
	offline *bool, // take base images as they were where their registry does not answer
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
) error {
	return checked(func() error {
		return api.Build(ctx, api.BuildOptions{
			Project: project(file, set), Targets: list(targets), Platforms: list(platforms), Fresh: on(fresh), Offline: on(offline),
		})
	})
}
