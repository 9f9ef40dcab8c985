package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Rollback puts all tags back to what they pointed to before the newest release.
func Rollback(ctx context.Context,
	to *string, // the release whose tags are wanted again: mage releases
	force *bool, // move tags that somebody else has moved meanwhile
	dryRun *bool, // only say what would move
) error {
	return checked(func() error {
		return api.Rollback(ctx, api.RollbackOptions{To: text(to), Force: on(force), DryRun: on(dryRun)})
	})
}
