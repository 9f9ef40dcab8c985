package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Reproduce builds a release again from its commit and compares every digest.
func Reproduce(ctx context.Context,
	ref *string, // a published image of this repository, instead of a release
	release *string, // the beginning of a release's id; without it and -ref the newest
	targets *string, // targets, separated by commas; all without it
	platforms *string, // platforms, separated by commas; all without it
	json *bool, // every digest and what differs, as JSON
) error {
	return reproduce(ctx, text(ref), text(release), list(targets), list(platforms), set(json))
}

func reproduce(ctx context.Context, ref, id string, targets, platforms []string, json bool) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		return w.Reproduce(ctx, release.ReproduceOptions{
			Selection: release.Selection{Targets: targets, Platforms: platforms},
			Ref:       ref, Release: id, JSON: json,
		})
	})
}
