package index_test

import (
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// A single image is published as it is where an index would add nothing, and in
// an index where it would.
func TestPlain(t *testing.T) {
	t.Parallel()
	amd64 := ocispecs.Image{Platform: platform(t, "linux/amd64")}
	osVersion := "10.0.1"
	title := func(level index.Level) []index.Annotation {
		return []index.Annotation{{Level: level, Key: "title", Value: "hello"}}
	}
	for _, tt := range []struct {
		name        string
		spec        registrytest.Spec
		assembly    index.Assembly
		ref         bool
		annotations []index.Annotation
		overrides   []index.Override
		plain       bool
	}{
		{name: "alone", spec: registrytest.Spec{Config: amd64}, plain: true},
		{name: "of Docker's types", spec: registrytest.Spec{Config: amd64, Docker: true}, assembly: index.Assembly{Docker: true}, plain: true},
		{name: "its manifest annotated", spec: registrytest.Spec{Config: amd64, Annotations: map[string]string{"title": "hello"}}, annotations: title(index.LevelManifest), plain: true},
		{name: "stripped", spec: registrytest.Spec{Config: amd64, Attested: true}, assembly: index.Assembly{StripAttestations: true}, plain: true},
		{name: "attested", spec: registrytest.Spec{Config: amd64, Attested: true}},
		{name: "always", spec: registrytest.Spec{Config: amd64}, assembly: index.Assembly{Index: true}},
		{name: "of sources", spec: registrytest.Spec{Config: amd64}, ref: true},
		{name: "with an annotation", spec: registrytest.Spec{Config: amd64}, annotations: title(index.LevelIndex)},
		{name: "with one of the entry", spec: registrytest.Spec{Config: amd64}, annotations: title(index.LevelManifestDescriptor)},
		{name: "with one of the descriptor", spec: registrytest.Spec{Config: amd64}, annotations: title(index.LevelIndexDescriptor)},
		{name: "with a platform that it does not state", spec: registrytest.Spec{Config: amd64}, overrides: []index.Override{{Platform: platform(t, "linux/amd64"), OSVersion: osVersion}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, dir := newClient(t), t.TempDir()
			requests := &requests{}
			host := registrytest.Serve(t, requests.wrap)
			repo, other := host+"/hello", registrytest.Serve(t)+"/other"
			image := registrytest.Push(t, repo, tt.spec)
			child := index.Child{Repository: repo, Digest: image.Pushed.Digest, Platform: platform(t, "linux/amd64")}
			if tt.ref {
				child.Ref = repo + "@" + image.Pushed.Digest.String()
			}
			a := tt.assembly
			a.Target, a.Platforms, a.Children, a.Overrides = "hello", parse(t, []string{"linux/amd64"}), []index.Child{child}, tt.overrides
			if _, err := index.Assemble(t.Context(), client, dir, a); err != nil {
				t.Fatal(err)
			}
			d, err := index.Annotate(dir, "hello", tt.annotations, tt.overrides)
			if err != nil {
				t.Fatal(err)
			}
			if d.Plain() != tt.plain || tt.plain != (d.Descriptor.Digest == image.Manifest.Digest) {
				t.Fatalf("plain: %t, %s; the image is %s", d.Plain(), d.Descriptor.Digest, image.Manifest.Digest)
			}
			if again, err := index.Annotate(dir, "hello", tt.annotations, tt.overrides); err != nil || again.Descriptor.Digest != d.Descriptor.Digest {
				t.Errorf("annotated again: %v", err)
			}
			if len(d.Children()) != 1 || d.Source(image.Manifest.Digest) != repo {
				t.Errorf("children %v of %q", d.Children(), d.Source(image.Manifest.Digest))
			}
			requests.reset()
			if err := index.Upload(t.Context(), client, d, []string{repo, other}); err != nil {
				t.Fatal(err)
			}
			if puts := requests.matching("PUT", "/manifests/"); tt.plain && len(puts) > 0 {
				t.Errorf("written though it was there: %v", puts)
			}
			moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1", other + ":1"}}}, "{tag}-{arch}")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := index.Promote(t.Context(), client, moves, index.Promotion{}); err != nil {
				t.Fatal(err)
			}
			for _, tag := range []string{repo + ":1", other + ":1"} {
				desc, raw, err := client.Manifest(t.Context(), tag)
				if err != nil || desc.Digest != d.Descriptor.Digest || string(raw) != string(d.Raw) || desc.MediaType != d.Descriptor.MediaType {
					t.Errorf("%s: %s %s (%v), want %s", tag, desc.MediaType, desc.Digest, err, d.Descriptor.Digest)
				}
				arch, err := client.Head(t.Context(), tag+"-amd64")
				if err != nil || arch.Digest != image.Manifest.Digest {
					t.Errorf("%s-amd64: %s (%v)", tag, arch.Digest, err)
				}
			}
			if diff, err := index.Diff(t.Context(), client, d, repo+":1"); err != nil || !diff.Same() {
				t.Errorf("differs from what was published: %+v (%v)", diff, err)
			}
		})
	}
}
