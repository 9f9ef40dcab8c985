package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Annotate writes the annotations of targets.hcl into the drafts.
func Annotate(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
) error {
	return checked(func() error {
		return api.Annotate(ctx, api.AnnotateOptions{Targets: list(targets)})
	})
}
