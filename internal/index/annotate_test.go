package index_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

func TestAnnotate(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	draft, _ := assembled(t, client, dir, registrytest.Serve(t)+"/hello", true)
	v6 := platform(t, "linux/arm/v6")
	all := []index.Annotation{
		{Level: index.LevelIndex, Key: "title", Value: "old"},
		{Level: index.LevelIndex, Key: "title", Value: "hello"},
		{Level: index.LevelIndexDescriptor, Key: "where", Value: "layout"},
		{Level: index.LevelManifestDescriptor, Key: "board", Value: "any"},
		{Level: index.LevelManifestDescriptor, Platform: &v6, Key: "board", Value: "zero"},
	}
	overrides := []index.Override{{Platform: v6, OSVersion: "1.2", OSFeatures: []string{"f"}}}
	d, err := index.Annotate(dir, "hello", all, overrides)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"title": "hello"}, d.Index.Annotations); diff != "" {
		t.Errorf("index:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"where": "layout"}, d.Descriptor.Annotations); diff != "" {
		t.Errorf("index-descriptor:\n%s", diff)
	}
	for i, desc := range d.Index.Manifests {
		want := draft.Index.Manifests[i]
		if i%2 == 0 {
			want.Annotations = map[string]string{"board": "any"}
			if i == 6 {
				want.Annotations = map[string]string{"board": "zero"}
				want.Platform = &ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v6", OSVersion: "1.2", OSFeatures: []string{"f"}}
			}
		}
		if diff := cmp.Diff(want, desc); diff != "" {
			t.Errorf("entry %d (-want +got):\n%s", i, diff)
		}
	}

	again, err := index.Annotate(dir, "hello", all, overrides)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.Raw, again.Raw) {
		t.Error("a second run gives other bytes")
	}
	// What is no longer asked for goes.
	bare, err := index.Annotate(dir, "hello", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(draft.Raw, bare.Raw) || bare.Descriptor.Annotations != nil {
		t.Errorf("without annotations it is not what was assembled: %s", bare.Raw)
	}
}

func TestAnnotateRefuses(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	draft, _ := assembled(t, client, dir, registrytest.Serve(t)+"/hello", false)
	riscv := platform(t, "linux/riscv64")
	tests := []struct {
		name string
		a    []index.Annotation
		o    []index.Override
		says string
	}{
		{"unknown platform", []index.Annotation{{Level: index.LevelManifestDescriptor, Platform: &riscv, Key: "k"}}, nil, `no platform "linux/riscv64"`},
		{"unknown platform of an override", nil, []index.Override{{Platform: riscv, OSVersion: "1"}}, `no platform "linux/riscv64"`},
		{"unknown level", []index.Annotation{{Level: "layer", Key: "k"}}, nil, `no level "layer"`},
		{"our own key", []index.Annotation{{Level: index.LevelIndexDescriptor, Key: ocispecs.AnnotationRefName, Value: "x"}}, nil, "use another"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := index.Annotate(dir, "hello", tt.a, tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
			if d, err := index.Open(dir, "hello"); err != nil || d.Descriptor.Digest != draft.Descriptor.Digest {
				t.Errorf("the draft changed: %v", err)
			}
		})
	}
	if _, err := index.Annotate(dir, "nobody", nil, nil); err == nil || !strings.Contains(err.Error(), "assemble first") {
		t.Errorf("no draft: %v", err)
	}
}

// TestManifestAnnotations compares what BuildKit was to write into the images.
func TestManifestAnnotations(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	p := platform(t, "linux/amd64")
	image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: p}, Annotations: map[string]string{"k": "v"}})
	_, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "hello", Platforms: []ocispecs.Platform{p}, Children: []index.Child{{Repository: repo, Digest: image.Pushed.Digest, Platform: p}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := index.Annotate(dir, "hello", []index.Annotation{{Level: index.LevelManifest, Key: "k", Value: "v"}}, nil); err != nil {
		t.Error(err)
	}
	_, err = index.Annotate(dir, "hello", []index.Annotation{{Level: index.LevelManifest, Key: "k", Value: "other"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "run build again") {
		t.Errorf("an image that was built without it: %v", err)
	}
}
