package index_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// What calls itself an attestation beside an image, in an index that a worker
// reports and in one that is taken from a registry: with attestations kept and
// stripped, what is one passes, and for anything else nothing is written.
func TestAssembleAttestations(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/app"
	good := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: platform(t, "linux/amd64")}, Layers: [][]byte{[]byte("amd64")}, Attested: true})
	evil := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: platform(t, "linux/arm64")}, Layers: [][]byte{[]byte("evil")}})
	arm64, unknown := platform(t, "linux/arm64"), ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	artifact := func(config string, layers ...string) ocispecs.Descriptor {
		return registrytest.PushArtifact(t, repo, config, layers...)
	}
	const statement, layer = "application/vnd.in-toto+json", ocispecs.MediaTypeImageLayerGzip

	// As BuildKit writes it with oci-artifact=true.
	m := map[string]any{
		"schemaVersion": 2, "mediaType": ocispecs.MediaTypeImageManifest, "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
		"config": ocispecs.DescriptorEmptyJSON, "subject": good.Manifest,
	}
	_, raw, err := client.Manifest(t.Context(), repo+"@"+good.Attestation.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	var own ocispecs.Manifest
	if err := json.Unmarshal(raw, &own); err != nil {
		t.Fatal(err)
	}
	m["layers"] = own.Layers
	if raw, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	artifactForm := registrytest.Put(t, repo, "", ocispecs.MediaTypeImageManifest, raw)

	entries := []struct {
		name  string
		entry ocispecs.Descriptor
		// platform of the entry; nil is none.
		platform *ocispecs.Platform
		one      bool
	}{
		{"BuildKit's", good.Attestation, &unknown, true},
		{"BuildKit's as an artifact", artifactForm, &unknown, true},
		{"statements with an empty config", artifact(ocispecs.MediaTypeEmptyJSON, statement, statement), &unknown, true},
		{"BuildKit's, entered for a platform", good.Attestation, &arm64, false},
		{"BuildKit's, entered for none", good.Attestation, nil, false},
		{"an image for its platform", evil.Manifest, &arm64, false},
		{"an image for no platform", evil.Manifest, &unknown, false},
		{"an image without a platform", evil.Manifest, nil, false},
		{"an index", registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{evil.Manifest}}), &unknown, false},
		{"a layer among statements", artifact(ocispecs.MediaTypeImageConfig, statement, layer), &unknown, false},
		{"no statement", artifact(ocispecs.MediaTypeImageConfig), &unknown, false},
		{"a chart", artifact("application/vnd.cncf.helm.config.v1+json", statement), &unknown, false},
		{"octets", artifact(ocispecs.MediaTypeImageConfig, "application/octet-stream"), &unknown, false},
	}
	image := good.Manifest
	p := platform(t, "linux/amd64")
	image.Platform = &p
	for _, tt := range entries {
		entry := tt.entry
		entry.Platform = tt.platform
		entry.Annotations = map[string]string{oci.AnnotationReferenceType: "attestation-manifest", oci.AnnotationReferenceDigest: image.Digest.String()}
		pushed := registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{image, entry}})
		for _, from := range []string{"built", "source"} {
			for _, strip := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%t", tt.name, from, strip), func(t *testing.T) {
					t.Parallel()
					dir := filepath.Join(t.TempDir(), "layout")
					d, err := assembleFrom(t, dir, from, repo, pushed.Digest, strip)
					if tt.one {
						if err != nil {
							t.Fatal(err)
						}
						want := 2
						if strip {
							want = 1
						}
						if len(d.Index.Manifests) != want || len(d.Children()) != 1 {
							t.Errorf("%d entries, %d images; want %d and 1", len(d.Index.Manifests), len(d.Children()), want)
						}
						return
					}
					var bad *index.PlatformError
					var source *index.SourceError
					if !errors.As(err, &bad) && !errors.As(err, &source) {
						t.Errorf("error %v", err)
					}
					if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
						t.Error("a draft was written")
					}
				})
			}
		}
	}
}

func assembleFrom(t *testing.T, dir, from, repo string, d digest.Digest, strip bool) (*index.Draft, error) {
	t.Helper()
	client := newClient(t)
	a := index.Assembly{Target: "app", Platforms: parse(t, []string{"linux/amd64"}), StripAttestations: strip}
	if from == "built" {
		a.Children = []index.Child{{Repository: repo, Digest: d, Platform: platform(t, "linux/amd64")}}
		return index.Assemble(t.Context(), client, dir, a)
	}
	var err error
	if a.Children, err = index.Resolve(t.Context(), client, repo+"@"+d.String()); err != nil {
		return nil, err
	}
	return index.Assemble(t.Context(), client, dir, a)
}

// An index that a worker reports for one platform may not bring another.
func TestWorkerBringsAnotherPlatform(t *testing.T) {
	t.Parallel()
	repo := registrytest.Serve(t) + "/app"
	push := func(name string) ocispecs.Descriptor {
		p := platform(t, name)
		image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: p}, Layers: [][]byte{[]byte(name)}}).Manifest
		image.Platform = &p
		return image
	}
	amd64, v6 := push("linux/amd64"), push("linux/arm/v6")
	lying := v6
	lying.Platform = amd64.Platform
	for name, entries := range map[string][]ocispecs.Descriptor{
		"another": {v6}, "both": {amd64, v6}, "another under its name": {lying}, "the same twice": {amd64, amd64},
		"within an index": {registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{amd64}})},
	} {
		dir := filepath.Join(t.TempDir(), "layout")
		if _, err := assembleFrom(t, dir, "built", repo, registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: entries}).Digest, false); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
