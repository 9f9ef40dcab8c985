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
) error {
	return checked(func() error {
		return api.Push(ctx, api.PushOptions{Targets: list(targets), Force: on(force), NoReferrer: on(noReferrer)})
	})
}
