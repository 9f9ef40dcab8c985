package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Inspect shows and checks the drafts, what is published, or any image with -ref.
func Inspect(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	ref *string, // any image of any registry: docker.io/library/alpine:3.20
	draft *bool, // the drafts, even where they are published
	json *bool, // for machines
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Inspect(ctx, release.InspectOptions{
			Selection: release.Selection{Targets: list(targets)},
			Ref:       text(ref), Draft: set(draft), JSON: set(json),
		})
	})
}
