package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// UpOptions are the options of Up.
type UpOptions struct{ Project }

// Up starts the embedded worker and registry, as a release would by itself.
func Up(ctx context.Context, options ...UpOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, _ UpOptions) error { return w.Up(ctx) })
}
