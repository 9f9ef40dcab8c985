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
	// Offline has base images whose registry does not answer count as they were
	// when it last did.
	Offline bool
	// Force moves tags that somebody else has moved meanwhile.
	Force bool
	// NoReferrer does not attach the record to the image.
	NoReferrer bool
	// DryRun asks everybody who takes part, and changes nothing.
	DryRun bool
	// JSON prints the result as JSON; Metadata is a file for it, "" for none.
	JSON     bool
	Metadata string
}

// Release builds, assembles, annotates, inspects, proves and pushes all targets;
// tags move last.
func Release(ctx context.Context, options ...ReleaseOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o ReleaseOptions) error {
		s := release.Selection{Targets: o.Targets, Files: o.Files}
		return w.Release(ctx, release.Options{
			BuildOptions: release.BuildOptions{Selection: s, Reuse: release.Reuse{Fresh: o.Fresh, Offline: o.Offline}},
			PushOptions:  release.PushOptions{Force: o.Force, NoReferrer: o.NoReferrer},
			DryRun:       o.DryRun,
			Results:      release.Results{JSON: o.JSON, Metadata: o.Metadata},
		})
	})
}
