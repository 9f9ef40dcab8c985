package tasks

import (
	"context"

	"github.com/archmage-build/archmage/tasks/api"
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
	file *string, // instead of the default files, separated like PATH
	set *string, // overrides as of bake --set, separated by semicolons: app.args.V=1;*.platform=linux/arm64
) error {
	o := api.InspectOptions{
		Project: project(file, set), Targets: list(targets), Ref: text(ref), Draft: on(draft), Diff: on(diff), Releases: on(releases),
	}
	for format, asked := range map[api.Format]*bool{
		api.JSON: json, api.SARIF: sarif, api.Markdown: markdown, api.Raw: raw, api.SBOM: sbom, api.Provenance: provenance,
	} {
		if on(asked) {
			o.Formats = append(o.Formats, format)
		}
	}
	return checked(func() error { return api.Inspect(ctx, o) })
}
