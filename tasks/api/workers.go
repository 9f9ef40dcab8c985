package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// WorkersOptions say how to look at workers.
type WorkersOptions struct {
	Project
	// Targets are those whose platforms must be served; none means the default.
	Targets []string
	JSON    bool
}

// Workers looks at every worker: who answers, what it builds, how full it is.
func Workers(ctx context.Context, options ...WorkersOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o WorkersOptions) error {
		return w.Workers(ctx, release.Selection{Targets: o.Targets, Files: o.Files}, o.JSON)
	})
}
