package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// RollbackOptions say how far to go back.
type RollbackOptions struct {
	Project
	// To is the beginning of the id of the release whose tags are wanted again.
	To string
	// Force moves tags that somebody else has moved since.
	Force bool
	// DryRun only says what would move.
	DryRun bool
}

// Rollback puts all tags back to what they pointed to before the newest release.
func Rollback(ctx context.Context, options ...RollbackOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o RollbackOptions) error {
		return w.Rollback(ctx, release.RollbackOptions{To: o.To, Force: o.Force, DryRun: o.DryRun})
	})
}
