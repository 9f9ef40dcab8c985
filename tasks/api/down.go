package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// DownOptions are the options of Down.
type DownOptions struct{ Project }

// Down ends the embedded worker and registry; caches and images stay.
func Down(ctx context.Context, options ...DownOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, _ DownOptions) error { return w.Down(ctx) })
}
