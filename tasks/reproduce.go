package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
)

// Reproduce builds a release again from its commit and compares every digest.
func Reproduce(ctx context.Context,
	ref *string, // a published image of this repository, instead of a release
	release *string, // the beginning of a release's id; without it and -ref the newest
	targets *string, // targets, separated by commas; all without it
	platforms *string, // platforms, separated by commas; all without it
	json *bool, // every digest and what differs, as JSON
) error {
	return checked(func() error {
		return api.Reproduce(ctx, api.ReproduceOptions{Ref: text(ref), Release: text(release), Targets: list(targets), Platforms: list(platforms), JSON: on(json)})
	})
}
