package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Releases lists what was released, from here and as the registry has it, the newest first.
func Releases(ctx context.Context,
	json *bool, // for machines: the records
) error {
	return checked(func() error {
		return api.Releases(ctx, api.ReleasesOptions{JSON: on(json)})
	})
}
