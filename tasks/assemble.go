package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Assemble makes a draft index of each target from what was built, on disk.
func Assemble(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
) error {
	return checked(func() error {
		return api.Assemble(ctx, api.AssembleOptions{Project: project(file, set), Targets: list(targets)})
	})
}
