package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Up starts the embedded worker and registry, as a release would by itself.
func Up(ctx context.Context) error {
	return checked(func() error {
		return api.Up(ctx)
	})
}
