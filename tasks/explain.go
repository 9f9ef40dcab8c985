package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Explain says what a check of the audit means and how it is fixed.
func Explain(ctx context.Context, check string) error {
	return checked(func() error { return api.Explain(ctx, api.ExplainOptions{Check: check}) })
}
