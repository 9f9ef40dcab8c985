package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Push uploads the drafts by digest, then moves the tags of all targets, latest last.
func Push(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	force *bool, // move tags that somebody else has moved meanwhile
	noReferrer *bool, // do not attach the record to the image
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
) error {
	return checked(func() error {
		return api.Push(ctx, api.PushOptions{Project: project(file, set), Targets: list(targets), Force: on(force), NoReferrer: on(noReferrer)})
	})
}
