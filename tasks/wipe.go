package tasks

import (
	"context"
	"time"

	"github.com/archmage-build/archmage/tasks/api"
)

// Wipe removes the matrix's images from devices, or build cache from workers; nothing from a registry.
func Wipe(ctx context.Context,
	device *string, // only these devices, groups or patterns: door,pi*
	all *bool, // every image of the devices, whoever put it there; asks
	yes *bool, // do not ask
	stop *bool, // end containers that use such an image
	workers *bool, // the build cache of every worker, instead
	keep *time.Duration, // spare cache that was used within this time: 48h
	dryRun *bool, // only say what would go
) error {
	o := api.WipeOptions{
		Workers: on(workers), DryRun: on(dryRun), Devices: list(device), All: on(all), Yes: on(yes), Stop: on(stop),
	}
	if keep != nil {
		o.Keep = *keep
	}
	return checked(func() error { return api.Wipe(ctx, o) })
}
