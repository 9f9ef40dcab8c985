package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Releases lists what was released, from here and as the registry has it, the newest first.
func Releases(ctx context.Context,
	json *bool, // for machines: the records
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Releases(ctx, set(json))
	})
}
