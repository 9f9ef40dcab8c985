package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Rollback puts all tags back to what they named before the newest release.
func Rollback(ctx context.Context,
	to *string, // the release whose tags are wanted again: mage releases
	force *bool, // move tags that somebody else has moved meanwhile
	dryRun *bool, // only say what would move
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Rollback(ctx, release.RollbackOptions{To: text(to), Force: set(force), DryRun: set(dryRun)})
	})
}
