package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// AnnotateOptions say what to annotate.
type AnnotateOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
}

// Annotate writes the annotations of targets.hcl into the drafts.
func Annotate(ctx context.Context, options ...AnnotateOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o AnnotateOptions) error {
		return w.Annotate(ctx, release.Selection{Targets: o.Targets, Files: o.Files})
	})
}
