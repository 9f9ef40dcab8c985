package tasks

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Inspect shows and audits the drafts, what is published, or any image with -ref.
func Inspect(ctx context.Context,
	targets *string, // names or patterns of targets and groups: a,b*
	ref *string, // any image: alpine:3.20, oci:DIR, archive.tar
	draft *bool, // the drafts, even where they are published
	diff *bool, // what the drafts would change
	releases *bool, // the tags of all that was released: drift, vanished images
	json *bool, // for machines
	sarif *bool, // SARIF 2.1.0, for code scanning
	markdown *bool, // for a pull request or a CI summary
	raw *bool, // the exact bytes of the manifest, with -ref
	sbom *bool, // the SBOMs
	provenance *bool, // the provenance statements
) error {
	return run(ctx, func(ctx context.Context, w *release.Workspace) error {
		o := release.InspectOptions{
			Selection: release.Selection{Targets: list(targets)},
			Ref:       text(ref), Draft: set(draft), Diff: set(diff), Releases: set(releases),
		}
		for format, asked := range map[release.Format]*bool{
			release.JSON: json, release.SARIF: sarif, release.Markdown: markdown,
			release.Raw: raw, release.SBOM: sbom, release.Provenance: provenance,
		} {
			if set(asked) {
				o.Formats = append(o.Formats, format)
			}
		}
		return w.Inspect(ctx, o)
	})
}
