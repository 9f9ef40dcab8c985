package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Report writes one HTML page of a release: images, timeline, verdicts, findings, tags.
func Report(ctx context.Context,
	release *string, // the id of a release, or its beginning, instead of the newest
	output *string, // the file to write, instead of one in .archmage/reports
) error {
	return checked(func() error {
		return api.Report(ctx, api.ReportOptions{Release: text(release), Output: text(output)})
	})
}
