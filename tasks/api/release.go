package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// ReleaseOptions say what to release and how.
type ReleaseOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
	// Fresh builds again what could be reused.
	Fresh bool
	// Force moves tags that somebody else has moved meanwhile.
	Force bool
	// NoReferrer does not attach the record to the image.
	NoReferrer bool
	// DryRun asks everybody who takes part, and changes nothing.
	DryRun bool
}

// Release builds, assembles, annotates, inspects, proves and pushes all targets;
// tags move last.
func Release(ctx context.Context, options ...ReleaseOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o ReleaseOptions) error {
		s := release.Selection{Targets: o.Targets, Files: o.Files}
		return w.Release(ctx, release.Options{
			BuildOptions: release.BuildOptions{Selection: s, Fresh: o.Fresh},
			PushOptions:  release.PushOptions{Force: o.Force, NoReferrer: o.NoReferrer},
			DryRun:       o.DryRun,
		})
	})
}
