package smoke_test

import (
	"errors"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/smoke"
)

// What a device is given are the images of an index, all of them.
func TestReadIndex(t *testing.T) {
	t.Parallel()
	client, err := registry.New(nil, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	repo := registrytest.Serve(t) + "/app"
	push := func(arch string) registrytest.Image {
		return registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: arch}}, Attested: true})
	}
	amd64, arm64 := push("amd64"), push("arm64")
	as := func(d ocispecs.Descriptor, os, arch, claim string) ocispecs.Descriptor {
		d.Platform, d.Annotations = nil, nil
		if os != "" {
			d.Platform = &ocispecs.Platform{OS: os, Architecture: arch}
		}
		if claim != "" {
			d.Annotations = map[string]string{oci.AnnotationReferenceType: claim}
		}
		return d
	}
	image := as(amd64.Manifest, "linux", "amd64", "")
	chart := registrytest.PushArtifact(t, repo, "application/vnd.cncf.helm.config.v1+json")
	const claims = "attestation-manifest"
	for _, tt := range []struct {
		name  string
		entry ocispecs.Descriptor
		want  int // images; 0 is an error
	}{
		{"an attestation", as(arm64.Attestation, "unknown", "unknown", claims), 1},
		{"a second image", as(arm64.Manifest, "linux", "arm64", ""), 2},
		{"one with another claim", as(arm64.Manifest, "linux", "arm64", "signature-manifest"), 2},
		{"one without a platform", as(arm64.Manifest, "", "", ""), 2},
		{"a chart", as(chart, "", "", ""), 1},
		{"an attestation for a platform", as(arm64.Attestation, "linux", "arm64", claims), 0},
		{"an image as an attestation", as(arm64.Manifest, "linux", "arm64", claims), 0},
		{"an image as an attestation for nobody", as(arm64.Manifest, "unknown", "unknown", claims), 0},
	} {
		pushed := registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{image, tt.entry}})
		target, err := smoke.Read(t.Context(), client, repo+"@"+pushed.Digest.String())
		var none *oci.AttestationError
		switch {
		case tt.want == 0:
			if !errors.As(err, &none) {
				t.Errorf("%s: %v", tt.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case len(target.Children) != tt.want:
			t.Errorf("%s: %d images, want %d", tt.name, len(target.Children), tt.want)
		}
	}
}
