package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Workers looks at every worker: who answers, what it builds, how full it is.
func Workers(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	json *bool, // for machines
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Workers(ctx, release.Selection{Targets: list(targets)}, set(json))
	})
}
