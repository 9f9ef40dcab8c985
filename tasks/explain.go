package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Explain says what a check of the audit means and how it is fixed.
func Explain(ctx context.Context, check string) error {
	return run(ctx, func(_ context.Context, w *release.Workspace) error { return w.Explain(check) })
}
