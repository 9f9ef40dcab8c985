package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Assemble makes a draft index of each target from what was built, on disk.
func Assemble(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Assemble(ctx, release.Selection{Targets: list(targets)})
	})
}
