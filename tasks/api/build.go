package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// BuildOptions say what to build and how.
type BuildOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
	// Platforms limit it; none means all.
	Platforms []string
	// Fresh builds again what could be reused.
	Fresh bool
	// Offline has base images whose registry does not answer count as they were
	// when it last did.
	Offline bool
}

// Build makes every platform and pushes it by digest; no tag moves.
func Build(ctx context.Context, options ...BuildOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o BuildOptions) error {
		s := release.Selection{Targets: o.Targets, Platforms: o.Platforms, Files: o.Files}
		return w.Build(ctx, release.BuildOptions{Selection: s, Reuse: release.Reuse{Fresh: o.Fresh, Offline: o.Offline}})
	})
}
