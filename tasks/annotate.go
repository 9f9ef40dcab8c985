package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Annotate writes the annotations of targets.hcl into the drafts.
func Annotate(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
) error {
	return checked(func() error {
		return api.Annotate(ctx, api.AnnotateOptions{Project: project(file, set), Targets: list(targets)})
	})
}
