package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// PushOptions say what to push and how.
type PushOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
	// Force moves tags that somebody else has moved meanwhile, and what was not
	// inspected or proven.
	Force bool
	// NoReferrer does not attach the record to the image.
	NoReferrer bool
}

// Push uploads the drafts by digest, then moves the tags of all targets, latest
// last.
func Push(ctx context.Context, options ...PushOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o PushOptions) error {
		s := release.Selection{Targets: o.Targets, Files: o.Files}
		return w.Push(ctx, release.PushOptions{Selection: s, Force: o.Force, NoReferrer: o.NoReferrer})
	})
}
