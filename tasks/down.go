package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Down ends the embedded worker and registry; caches and images stay.
func Down(ctx context.Context) error {
	return checked(func() error {
		return api.Down(ctx)
	})
}
