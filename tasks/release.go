package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Release builds, assembles, annotates, inspects, proves and pushes all targets; tags move last.
func Release(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
	fresh *bool, // build again, whatever earlier runs have built
	offline *bool, // take base images as they were where their registry does not answer
	force *bool, // move tags that somebody else has moved meanwhile
	noReferrer *bool, // do not attach the record to the image
	dryRun *bool, // ask everybody who takes part, and change nothing
	json *bool, // print the result as JSON, for machines
	metadata *string, // a file for the result as JSON
) error {
	return checked(func() error {
		return api.Release(ctx, api.ReleaseOptions{
			Project: project(file, set), Targets: list(targets),
			Fresh: on(fresh), Offline: on(offline), Force: on(force), NoReferrer: on(noReferrer), DryRun: on(dryRun),
			JSON: on(json), Metadata: text(metadata),
		})
	})
}
