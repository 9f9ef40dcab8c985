package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Release builds, assembles, annotates, inspects, proves and pushes all targets; tags move last.
func Release(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	fresh *bool, // build anew, whatever earlier runs have built
	force *bool, // move tags that somebody else has moved meanwhile
	noReferrer *bool, // do not attach the record to the image
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Release(ctx, release.Options{
			BuildOptions: release.BuildOptions{Selection: release.Selection{Targets: list(targets)}, Fresh: set(fresh)},
			PushOptions:  release.PushOptions{Force: set(force), NoReferrer: set(noReferrer)},
		})
	})
}
