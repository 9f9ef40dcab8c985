package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// InitOptions are the options of Init.
type InitOptions struct{ Project }

// Init writes a first targets.hcl from the Dockerfiles, the bake file or the
// compose file that are there.
func Init(ctx context.Context, options ...InitOptions) error {
	return run(ctx, options, func(_ context.Context, w *release.Workspace, _ InitOptions) error { return w.Init() })
}
