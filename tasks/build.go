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
) error {
	return checked(func() error {
		return api.Build(ctx, api.BuildOptions{Targets: list(targets), Platforms: list(platforms), Fresh: on(fresh), Offline: on(offline)})
	})
}
