package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Smoke runs what is published on the devices of targets.hcl.
func Smoke(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	device *string, // only these devices, groups or patterns: door,pi*
	ref *string, // any image, instead of what is published
	json *bool, // for machines
	junit *bool, // JUnit XML, for a CI
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
) error {
	return checked(func() error {
		return api.Smoke(ctx, api.SmokeOptions{Project: project(file, set), Targets: list(targets), Devices: list(device), Ref: text(ref), JSON: on(json), JUnit: on(junit)})
	})
}
