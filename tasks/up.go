package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Up starts the embedded worker and registry, as a release would by itself.
func Up(ctx context.Context) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Up(ctx)
	})
}
