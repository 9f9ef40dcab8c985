package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Workers looks at every worker: who answers, what it builds, how full it is.
func Workers(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	json *bool, // for machines
) error {
	return checked(func() error {
		return api.Workers(ctx, api.WorkersOptions{Targets: list(targets), JSON: on(json)})
	})
}
