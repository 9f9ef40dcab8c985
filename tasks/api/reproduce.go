package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// ReproduceOptions say what to build again.
type ReproduceOptions struct {
	Project
	// Ref is a published image of this repository, instead of a release.
	Ref string
	// Release is the beginning of a release's id; without it and Ref the newest.
	Release string
	// Targets and Platforms limit it; none means all.
	Targets, Platforms []string
	// JSON prints every digest and what differs.
	JSON bool
}

// Reproduce builds a release again from its commit and compares every digest.
func Reproduce(ctx context.Context, options ...ReproduceOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o ReproduceOptions) error {
		return w.Reproduce(ctx, release.ReproduceOptions{
			Selection: release.Selection{Targets: o.Targets, Platforms: o.Platforms, Files: o.Files},
			Ref:       o.Ref, Release: o.Release, JSON: o.JSON,
		})
	})
}
