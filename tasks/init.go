package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Init writes a first targets.hcl from the Dockerfiles, bake or compose file that are there.
func Init(ctx context.Context) error {
	return checked(func() error { return api.Init(ctx) })
}
