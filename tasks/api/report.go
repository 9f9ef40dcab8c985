package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// ReportOptions say of which release to write a page, and where.
type ReportOptions struct {
	Project
	// Release is an id or its beginning; "" is the newest.
	Release string
	// Output is the file; "" is one in .archmage/reports.
	Output string
}

// Report writes one self-contained HTML page of a release and prints its path.
func Report(ctx context.Context, options ...ReportOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o ReportOptions) error {
		return w.Report(ctx, release.ReportOptions{Release: o.Release, Output: o.Output})
	})
}
