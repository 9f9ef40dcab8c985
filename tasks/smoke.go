package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Smoke runs what is published on the devices of targets.hcl.
func Smoke(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	device *string, // only these devices: door,rack
	ref *string, // any image, instead of what is published
	json *bool, // for machines
	junit *bool, // JUnit XML, for a CI
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Smoke(ctx, release.SmokeOptions{
			Selection: release.Selection{Targets: list(targets)},
			Devices:   list(device), Ref: text(ref), JSON: set(json), JUnit: set(junit),
		})
	})
}
