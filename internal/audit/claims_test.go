package audit_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
)

// An image is judged whatever it is dressed up as: each of these starts a
// program that is not in it, and the audit has to say so.
func TestImagesDressedUp(t *testing.T) {
	t.Parallel()
	host, _ := serve(t)
	client := newClient(t)
	arm64 := &ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	unknown := &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	predicate := map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}
	n := 0
	for _, claim := range []string{"", "attestation-manifest", "signature-manifest"} {
		for name, platform := range map[string]*ocispecs.Platform{"arm64": arm64, "unknown": unknown, "none": nil} {
			for _, annotated := range []map[string]string{nil, predicate} {
				for _, nested := range []bool{false, true} {
					n++
					r := repo{t: t, host: host, path: fmt.Sprintf("dressed/%d", n)}
					t.Run(fmt.Sprintf("%q %s %d %t", claim, name, len(annotated), nested), func(t *testing.T) {
						good := r.push(image{platform: "linux/amd64", layers: []layer{files(t, text("name", r.path))}})
						entry := r.dressed(annotated, nested)
						entry.Platform = platform
						if claim != "" {
							entry.Annotations = map[string]string{"vnd.docker.reference.type": claim, "vnd.docker.reference.digest": good[0].Digest.String()}
						}
						report, err := audit.Audit(t.Context(), audit.Registry(client), r.index(good, []ocispecs.Descriptor{entry}), audit.Options{})
						if err != nil {
							t.Fatal(err)
						}
						if got := len(report.Tree.Images()); got != 2 {
							t.Errorf("%d images, want both", got)
						}
						has := func(id string) bool {
							return slices.ContainsFunc(report.Findings, func(f audit.Finding) bool { return f.ID == id && f.Severity == audit.Error })
						}
						if !has("entrypoint-missing") {
							t.Errorf("the image was not judged: %q", report.Findings)
						}
						if want := claim == "attestation-manifest"; has("false-attestation") != want {
							t.Errorf("false-attestation: %t, want %t: %q", !want, want, report.Findings)
						}
					})
				}
			}
		}
	}
}

// dressed pushes an arm64 image without its program, its layers annotated, and
// within an index of its own if nested.
func (r repo) dressed(annotations map[string]string, nested bool) ocispecs.Descriptor {
	l := files(r.t, text("other", r.path))
	blob := gzipped(r.t, l.tar)
	r.blob(blob)
	config := r.marshal(ocispecs.Image{
		Platform: ocispecs.Platform{OS: "linux", Architecture: "arm64"}, Config: entry("/nothing"),
		RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(l.tar)}},
	})
	r.blob(config)
	desc := r.manifest(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Config: ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ocispecs.Descriptor{{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(blob), Size: int64(len(blob)), Annotations: annotations}},
	})
	if !nested {
		return desc
	}
	desc.Platform = &ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	return r.indexOf(ocispecs.MediaTypeImageIndex, []ocispecs.Descriptor{desc})
}
