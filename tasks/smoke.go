package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Smoke runs what is published on the devices of targets.hcl.
func Smoke(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	device *string, // only these devices: door,rack
	ref *string, // any image, instead of what is published
	json *bool, // for machines
	junit *bool, // JUnit XML, for a CI
) error {
	return checked(func() error {
		return api.Smoke(ctx, api.SmokeOptions{Targets: list(targets), Devices: list(device), Ref: text(ref), JSON: on(json), JUnit: on(junit)})
	})
}
