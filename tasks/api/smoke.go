package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// SmokeOptions say what to prove.
type SmokeOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
	// Devices are names; none means all.
	Devices []string
	// Ref is any image, instead of what is published.
	Ref string
	// JSON and JUnit are for machines.
	JSON, JUnit bool
}

// Smoke runs what is published on the devices of targets.hcl.
func Smoke(ctx context.Context, options ...SmokeOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o SmokeOptions) error {
		return w.Smoke(ctx, release.SmokeOptions{
			Selection: release.Selection{Targets: o.Targets, Files: o.Files},
			Devices:   o.Devices, Ref: o.Ref, JSON: o.JSON, JUnit: o.JUnit,
		})
	})
}
