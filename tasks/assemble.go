package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Assemble makes a draft index of each target from what was built, on disk.
func Assemble(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
) error {
	return checked(func() error {
		return api.Assemble(ctx, api.AssembleOptions{Targets: list(targets)})
	})
}
