package tasks

import (
	"context"
	"path/filepath"

	"github.com/archmage-build/archmage/internal/release"
)

// Release builds, assembles, annotates, inspects, proves and pushes all targets; tags move last.
func Release(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
	fresh *bool, // build anew, whatever earlier runs have built
	force *bool, // move tags that somebody else has moved meanwhile
	noReferrer *bool, // do not attach the record to the image
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Release(ctx, release.Options{
			BuildOptions: release.BuildOptions{Selection: release.Selection{Targets: list(targets), Files: filepath.SplitList(text(file)), Set: semicolons(set)}, Fresh: isSet(fresh)},
			PushOptions:  release.PushOptions{Force: isSet(force), NoReferrer: isSet(noReferrer)},
		})
	})
}
