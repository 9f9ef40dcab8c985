package index_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

func TestAssembleRefuses(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/hello"
	good, images := built(t, repo, asked, true)
	push := func(spec registrytest.Spec) digest.Digest { return registrytest.Push(t, repo, spec).Pushed.Digest }
	amd64, v6 := platform(t, "linux/amd64"), platform(t, "linux/arm/v6")
	child := func(d digest.Digest, text string) index.Child {
		return index.Child{Repository: repo, Digest: d, Platform: platform(t, text)}
	}
	only := func(children ...index.Child) []index.Child { return children }
	stray := images["linux/arm64"].Attestation // about another image than the amd64 one
	inner := images["linux/amd64"].Manifest
	wrongSize := inner
	wrongSize.Size++

	tests := []struct {
		name      string
		platforms []string
		children  []index.Child
		docker    bool
		says      []string
	}{
		{"no platforms", nil, nil, false, []string{"no platforms"}},
		{"missing", asked, good[1:], false, []string{`"linux/arm/v6"`, "is missing"}},
		{"surplus", asked[:3], good, false, []string{`"linux/arm/v6"`, "not in platforms"}},
		{"duplicate child", asked, append(slices.Clone(good), good[0]), false, []string{"two images"}},
		{"duplicate platform", []string{"linux/arm64", "linux/arm64/v8"}, only(good[2]), false, []string{"listed twice"}},
		{"one image twice", []string{"linux/amd64", "linux/arm64"}, only(child(images["linux/amd64"].Manifest.Digest, "linux/amd64"), child(images["linux/amd64"].Manifest.Digest, "linux/arm64")), false, []string{`"linux/arm64"`, "linux/amd64"}},
		{"another architecture", []string{"linux/arm64"}, only(child(push(registrytest.Spec{Config: ocispecs.Image{Platform: amd64}}), "linux/arm64")), false, []string{`"hello"`, `"linux/arm64"`, "says linux/amd64"}},
		{"v7 for v6", []string{"linux/arm/v6"}, only(child(push(registrytest.Spec{Config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "arm"}}}), "linux/arm/v6")), false, []string{"says linux/arm/v7"}},
		{"v6 for v7", []string{"linux/arm/v7"}, only(child(push(registrytest.Spec{Config: ocispecs.Image{Platform: v6}}), "linux/arm/v7")), false, []string{"says linux/arm/v6"}},
		{"no platform in the config", []string{"linux/amd64"}, only(child(push(registrytest.Spec{}), "linux/amd64")), false, []string{"states no platform"}},
		{"a chart", []string{"linux/amd64"}, only(child(registrytest.PushArtifact(t, repo, "application/vnd.cncf.helm.config.v1+json").Digest, "linux/amd64")), false, []string{"states no platform", "is it an image?"}},
		{"an index of two", []string{"linux/amd64"}, only(child(registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{inner, images["linux/arm64"].Manifest}}).Digest, "linux/amd64")), false, []string{"an index of 2 images"}},
		{"an empty index", []string{"linux/amd64"}, only(child(registrytest.PushIndex(t, repo, ocispecs.Index{}).Digest, "linux/amd64")), false, []string{"an index of 0 images"}},
		{"a stray attestation", []string{"linux/amd64"}, only(child(registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{inner, stray}}).Digest, "linux/amd64")), false, []string{"which is not in it"}},
		{"a lying size", []string{"linux/amd64"}, only(child(registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{wrongSize}}).Digest, "linux/amd64")), false, []string{"the index states"}},
		{"gone", []string{"linux/amd64"}, only(child(digest.FromString("gone"), "linux/amd64")), false, []string{`"linux/amd64"`, "does not have it"}},
		{"OCI image in a Docker list", []string{"linux/amd64"}, only(child(inner.Digest, "linux/amd64")), true, []string{`media_types = "oci"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "layout")
			_, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "hello", Platforms: parse(t, tt.platforms), Children: tt.children, Docker: tt.docker})
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("error %q does not say %q", err, say)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
				t.Error("a draft was written")
			}
		})
	}
}

func TestAssembleAgain(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	first, images := assembled(t, client, dir, repo, true)
	before := files(t, dir)
	again, _ := assembled(t, client, dir, repo, true)
	if first.Descriptor.Digest != again.Descriptor.Digest {
		t.Error("the digest changed")
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the files changed from %q to %q", before, after)
	}

	// A second target stands beside the first, a changed one in its place.
	one := []index.Child{{Repository: repo, Digest: images["linux/amd64"].Pushed.Digest, Platform: platform(t, "linux/amd64")}}
	other, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "other", Platforms: parse(t, asked[:1]), Children: one, StripAttestations: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(other.Index.Manifests) != 1 {
		t.Errorf("stripped, it has %d entries", len(other.Index.Manifests))
	}
	if _, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "hello", Platforms: parse(t, asked[:1]), Children: one}); err != nil {
		t.Fatal(err)
	}
	if targets, err := index.Targets(dir); err != nil || !slices.Equal(targets, []string{"hello", "other"}) {
		t.Errorf("targets %q, %v", targets, err)
	}
	if after := files(t, dir); len(after) >= len(before) {
		t.Errorf("%d files before, %d after three platforms went: %q", len(before), len(after), after)
	}
	if reopened, err := index.Open(dir, "other"); err != nil || reopened.Descriptor.Digest != other.Descriptor.Digest {
		t.Errorf("the other target is lost: %v", err)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// read opens the only draft of a layout with a library that is not ours.
func read(t *testing.T, dir string, d *index.Draft) (v1.ImageIndex, *v1.IndexManifest) {
	t.Helper()
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	listed, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(listed.Manifests) != 1 || listed.Manifests[0].Digest.String() != d.Descriptor.Digest.String() {
		t.Fatalf("index.json lists %+v", listed.Manifests)
	}
	idx, err := top.ImageIndex(listed.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return idx, manifest
}

// TestLayoutIsReadable reads a draft with a library that is not ours.
func TestLayoutIsReadable(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	d, images := assembled(t, client, dir, registrytest.Serve(t)+"/hello", true)
	idx, manifest := read(t, dir, d)
	for i, text := range asked {
		desc := manifest.Manifests[2*i]
		img, err := idx.Image(desc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		got := platforms.Format(ocispecs.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant})
		if got != text || desc.Digest.String() != images[text].Manifest.Digest.String() {
			t.Errorf("entry %d is %s, want %s", 2*i, got, text)
		}
	}
}

func TestDockerMediaTypes(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: platform(t, "linux/amd64")}, Docker: true})
	children := []index.Child{{Repository: repo, Digest: image.Pushed.Digest, Platform: platform(t, "linux/amd64")}}
	d, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "hello", Platforms: parse(t, asked[:1]), Children: children, Docker: true, Index: true})
	if err != nil {
		t.Fatal(err)
	}
	if d.Index.MediaType != oci.MediaTypeDockerManifestList || d.Descriptor.MediaType != oci.MediaTypeDockerManifestList {
		t.Errorf("media types %q, %q", d.Index.MediaType, d.Descriptor.MediaType)
	}
	_, err = index.Annotate(dir, "hello", []index.Annotation{{Level: index.LevelIndex, Key: "k", Value: "v"}}, nil)
	if err == nil || !strings.Contains(err.Error(), `media_types = "oci"`) {
		t.Errorf("an annotation on a Docker list: %v", err)
	}
}

// TestPlatformOfTheConfig keeps what a Windows config says beyond the target.
func TestPlatformOfTheConfig(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	config := ocispecs.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10.0.20348.2700", OSFeatures: []string{"win32k"}}
	image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: config}})
	children := []index.Child{{Repository: repo, Digest: image.Pushed.Digest, Platform: platform(t, "windows/amd64")}}
	d, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "hello", Platforms: parse(t, []string{"windows/amd64"}), Children: children})
	if err != nil {
		t.Fatal(err)
	}
	if p := d.Index.Manifests[0].Platform; p.OSVersion != config.OSVersion || !slices.Equal(p.OSFeatures, config.OSFeatures) {
		t.Errorf("platform %+v", p)
	}
	_, err = index.Annotate(dir, "hello", nil, []index.Override{{Platform: platform(t, "windows/amd64"), OSVersion: "10.0.1"}})
	var mismatch *index.PlatformError
	if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), config.OSVersion) {
		t.Errorf("an override that contradicts the config: %v", err)
	}
}

func TestDamagedLayout(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/hello"
	tests := []struct {
		name   string
		damage func(dir string, d *index.Draft) (string, []byte)
	}{
		{"index.json cut short", func(dir string, _ *index.Draft) (string, []byte) {
			return filepath.Join(dir, "index.json"), []byte(`{"manifests":[`)
		}},
		{"index changed", func(dir string, d *index.Draft) (string, []byte) {
			return filepath.Join(dir, "blobs", "sha256", d.Descriptor.Digest.Encoded()), []byte(`{}`)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d, _ := assembled(t, client, dir, repo, false)
			path, content := tt.damage(dir, d)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := index.Open(dir, "hello")
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "assemble again") {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := index.Open(t.TempDir(), "hello"); !errors.Is(err, index.ErrNoDraft) {
		t.Errorf("an empty layout: %v", err)
	}
}

func TestUnwritableLayout(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/hello"
	children, _ := built(t, repo, asked, false)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := index.Assemble(t.Context(), client, filepath.Join(file, "layout"), index.Assembly{Target: "hello", Platforms: parse(t, asked), Children: children})
	if err == nil || !strings.Contains(err.Error(), "layout") {
		t.Errorf("error %v", err)
	}
	var e *registry.Error
	if errors.As(err, &e) {
		t.Error("the disk's fault is blamed on the registry")
	}
}

// TestSourcesStayLocal looks for what is only the draft's own in the bytes
// that will be pushed.
func TestSourcesStayLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, _ := assembled(t, newClient(t), dir, registrytest.Serve(t)+"/hello", true)
	if strings.Contains(string(d.Raw), "archmage") || strings.Contains(string(d.Raw), dir) {
		t.Errorf("the index holds %s", d.Raw)
	}
	var top ocispecs.Index
	if err := json.Unmarshal(d.Raw, &top); err != nil {
		t.Fatal(err)
	}
	if len(top.Annotations) != 0 {
		t.Errorf("annotations %v that nobody asked for", top.Annotations)
	}
}
