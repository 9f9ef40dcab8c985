package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// ExplainOptions say what to explain.
type ExplainOptions struct {
	Project
	// Check is the id of a check: elf-architecture.
	Check string
}

// Explain says what a check of the audit means and how it is fixed.
func Explain(ctx context.Context, options ...ExplainOptions) error {
	return run(ctx, options, func(_ context.Context, w *release.Workspace, o ExplainOptions) error { return w.Explain(o.Check) })
}
