package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Devices looks at every device: who is reachable, what it is and runs.
func Devices(ctx context.Context,
	device *string, // only these devices, groups or patterns: door,pi*
	json *bool, // for machines
) error {
	return checked(func() error {
		return api.Devices(ctx, api.DevicesOptions{Devices: list(device), JSON: on(json)})
	})
}
