package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// DoctorOptions say what to look after.
type DoctorOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
	JSON    bool
}

// Doctor asks workers, devices and registries whether a release could begin.
func Doctor(ctx context.Context, options ...DoctorOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o DoctorOptions) error {
		return w.Doctor(ctx, release.Selection{Targets: o.Targets, Files: o.Files}, o.JSON)
	})
}
