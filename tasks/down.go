package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Down ends the embedded worker and registry; caches and images stay.
func Down(ctx context.Context) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Down(ctx)
	})
}
