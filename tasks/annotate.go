package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Annotate writes the annotations of targets.hcl into the drafts.
func Annotate(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Annotate(ctx, release.Selection{Targets: list(targets)})
	})
}
