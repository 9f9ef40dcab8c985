package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// AssembleOptions say what to assemble.
type AssembleOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
}

// Assemble makes a draft index of each target from what was built, on disk.
func Assemble(ctx context.Context, options ...AssembleOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o AssembleOptions) error {
		return w.Assemble(ctx, release.Selection{Targets: o.Targets, Files: o.Files})
	})
}
