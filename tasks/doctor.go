package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Doctor asks workers, devices and registries whether a release could begin.
func Doctor(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	json *bool, // for machines
) error {
	return checked(func() error {
		return api.Doctor(ctx, api.DoctorOptions{Targets: list(targets), JSON: on(json)})
	})
}
