package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Push uploads the drafts by digest, then moves the tags of all targets, latest last.
func Push(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	force *bool, // move tags that somebody else has moved meanwhile
	noReferrer *bool, // do not attach the record to the image
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Push(ctx, release.PushOptions{Selection: release.Selection{Targets: list(targets)}, Force: set(force), NoReferrer: set(noReferrer)})
	})
}
