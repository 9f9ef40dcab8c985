package api

import (
	"context"

	"github.com/archmage-build/archmage/internal/release"
)

// Format is how Inspect prints.
type Format = release.Format

// The formats of Inspect. Raw goes with Ref.
const (
	Table      = release.Table
	JSON       = release.JSON
	SARIF      = release.SARIF
	Markdown   = release.Markdown
	Raw        = release.Raw
	SBOM       = release.SBOM
	Provenance = release.Provenance
)

// InspectOptions say what to look at.
type InspectOptions struct {
	Project
	// Targets are names and patterns of targets and groups; none means the default.
	Targets []string
	// Ref is any image instead: alpine:3.20, oci:DIR, archive.tar.
	Ref string
	// Draft looks at the drafts, even where they are published.
	Draft bool
	// Diff shows what the drafts would change.
	Diff bool
	// Releases looks at the tags of all that was released.
	Releases bool
	// Formats are those that were asked for, one at most.
	Formats []Format
}

// Inspect shows and audits the drafts, what is published, or any image.
func Inspect(ctx context.Context, options ...InspectOptions) error {
	return run(ctx, options, func(ctx context.Context, w *release.Workspace, o InspectOptions) error {
		return w.Inspect(ctx, release.InspectOptions{
			Selection: release.Selection{Targets: o.Targets, Files: o.Files},
			Ref:       o.Ref, Draft: o.Draft, Diff: o.Diff, Releases: o.Releases, Formats: o.Formats,
		})
	})
}
