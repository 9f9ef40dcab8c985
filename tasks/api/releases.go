package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// ReleasesOptions say how to list releases.
type ReleasesOptions struct {
	Project
	// JSON prints the records.
	JSON bool
}

// Releases lists what was released, from here and as the registry has it, the
// newest first.
func Releases(ctx context.Context, options ...ReleasesOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o ReleasesOptions) error {
		return w.Releases(ctx, o.JSON)
	})
}
