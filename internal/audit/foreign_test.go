package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// heap is a source of whatever bytes a test puts into it.
type heap struct {
	top   ocispecs.Descriptor
	blobs map[digest.Digest][]byte
}

func (h *heap) put(mediaType string, v any) ocispecs.Descriptor {
	raw, ok := v.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			panic(err)
		}
	}
	if h.blobs == nil {
		h.blobs = map[digest.Digest][]byte{}
	}
	h.top = ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	h.blobs[h.top.Digest] = raw
	return h.top
}

func (h *heap) Manifest(context.Context, string) (ocispecs.Descriptor, []byte, error) {
	return h.top, h.blobs[h.top.Digest], nil
}

func (h *heap) Child(_ context.Context, _ string, desc ocispecs.Descriptor, _ bool, _ int64) ([]byte, error) {
	raw, ok := h.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("%s is gone", desc.Digest)
	}
	return raw, nil
}

func (h *heap) image(config any, layers ...ocispecs.Descriptor) ocispecs.Descriptor {
	return h.put(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		MediaType: ocispecs.MediaTypeImageManifest,
		Config:    h.put(ocispecs.MediaTypeImageConfig, config),
		Layers:    layers,
	})
}

func (h *heap) index(children ...ocispecs.Descriptor) ocispecs.Descriptor {
	return h.put(ocispecs.MediaTypeImageIndex, ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: children})
}

var amd64 = ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}}

// TestArtifacts names what is no image.
func TestArtifacts(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/things"
	tests := []struct {
		config string
		layers []string
		name   string
	}{
		{"application/vnd.cncf.helm.config.v1+json", []string{"application/vnd.cncf.helm.chart.content.v1.tar+gzip"}, "Helm chart"},
		{"application/vnd.oci.image.config.v1+json.odd", []string{"application/vnd.dev.cosign.simplesigning.v1+json"}, "signature"},
		{"application/vnd.oci.empty.v1+json", []string{"application/spdx+json"}, "SBOM"},
		{"application/vnd.wasm.config.v0+json", nil, "WebAssembly module"},
		{"application/vnd.nobody.knows", nil, "artifact application/vnd.nobody.knows"},
	}
	for _, tt := range tests {
		desc := registrytest.PushArtifact(t, repo, tt.config, tt.layers...)
		tree, err := audit.Read(t.Context(), audit.Registry(client), repo+"@"+desc.Digest.String())
		if err != nil {
			t.Error(err)
			continue
		}
		if tree.Kind != audit.KindArtifact || tree.Name != tt.name || len(tree.Layers) != len(tt.layers) {
			t.Errorf("%s: %s %q with %d layers, want %q", tt.config, tree.Kind, tree.Name, len(tree.Layers), tt.name)
		}
	}
}

func TestSingle(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/hello"
	image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}, Attested: true})
	for _, tt := range []struct {
		digest digest.Digest
		kind   audit.Kind
		name   string
	}{
		{image.Manifest.Digest, audit.KindImage, "linux/arm64"},
		{image.Attestation.Digest, audit.KindAttestation, "SBOM and provenance"},
		{image.Pushed.Digest, audit.KindIndex, "index"},
	} {
		tree, err := audit.Read(t.Context(), audit.Registry(client), repo+"@"+tt.digest.String())
		if err != nil {
			t.Fatal(err)
		}
		if tree.Kind != tt.kind || tree.Name != tt.name {
			t.Errorf("%s is %s %q, want %s %q", tt.digest, tree.Kind, tree.Name, tt.kind, tt.name)
		}
		raw, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "unknown/unknown") {
			t.Errorf("the tree says unknown/unknown: %s", raw)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	gone := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString("gone"), Size: 4, Platform: &ocispecs.Platform{OS: "linux", Architecture: "arm64"}}
	tests := []struct {
		name  string
		child func(h *heap) ocispecs.Descriptor
		says  string
	}{
		{"gone", func(*heap) ocispecs.Descriptor { return gone }, "is gone"},
		{"other bytes", func(h *heap) ocispecs.Descriptor { h.blobs[gone.Digest] = []byte("mine"); return gone }, "do not fit the digest"},
		{"lying size", func(h *heap) ocispecs.Descriptor { d := h.image(amd64); d.Size++; return d }, "the index states"},
		{"negative size", func(h *heap) ocispecs.Descriptor { d := h.image(amd64); d.Size = -1; return d }, "-1 bytes"},
		{"huge", func(*heap) ocispecs.Descriptor { d := gone; d.Size = 10 << 30; return d }, "more than"},
		{"bad digest", func(*heap) ocispecs.Descriptor { d := gone; d.Digest = "sha256:../../etc/passwd"; return d }, ""},
		{"no JSON", func(h *heap) ocispecs.Descriptor { return h.put(ocispecs.MediaTypeImageManifest, []byte("<html>")) }, "no manifest"},
		{"no config", func(h *heap) ocispecs.Descriptor { return h.put(ocispecs.MediaTypeImageManifest, []byte("{}")) }, "without a config"},
		{"config no JSON", func(h *heap) ocispecs.Descriptor { return h.image([]byte("[")) }, "config is not readable"},
		{"config gone", func(h *heap) ocispecs.Descriptor {
			d := h.image(amd64)
			delete(h.blobs, h.put("", amd64).Digest)
			return d
		}, "config cannot be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := &heap{}
			good := h.image(amd64, ocispecs.Descriptor{Digest: "x", Size: 1}) // another image than the bad ones
			h.blobs[good.Digest] = append([]byte(nil), h.blobs[good.Digest]...)
			bad := tt.child(h)
			if tt.name == "config gone" {
				good = h.image(ocispecs.Image{Author: "other", Platform: amd64.Platform})
			}
			h.index(good, bad)
			tree, err := audit.Read(t.Context(), h, "x")
			if err != nil {
				t.Fatal(err)
			}
			if p := tree.Children[0].Problem; p != "" {
				t.Errorf("the good child has the problem %q", p)
			}
			if p := tree.Children[1].Problem; p == "" || !strings.Contains(p, tt.says) {
				t.Errorf("problem %q, want %q", p, tt.says)
			}
		})
	}
}

func TestStrayAttestation(t *testing.T) {
	t.Parallel()
	h := &heap{}
	image := h.image(amd64)
	att := h.image(map[string]string{"os": "unknown"}, ocispecs.Descriptor{MediaType: "application/vnd.in-toto+json", Digest: "x", Annotations: map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}})
	att.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest.FromString("gone").String()}
	att.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	h.index(image, att)
	tree, err := audit.Read(t.Context(), h, "x")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tree.Children[1].Name, "provenance of an image that is not here"; !strings.HasPrefix(got, want) {
		t.Errorf("name %q, want %q", got, want)
	}
}

// TestGraphBounds reads graphs that are larger than honest ones.
func TestGraphBounds(t *testing.T) {
	t.Parallel()
	t.Run("depth", func(t *testing.T) {
		t.Parallel()
		h := &heap{}
		top := h.image(amd64)
		for range 10 {
			top = h.index(top)
		}
		tree, err := audit.Read(t.Context(), h, "x")
		if err != nil {
			t.Fatal(err)
		}
		n := &tree.Node
		for len(n.Children) > 0 {
			n = &n.Children[0]
		}
		if !strings.Contains(n.Problem, "nested") {
			t.Errorf("the deepest node has the problem %q", n.Problem)
		}
	})
	t.Run("breadth", func(t *testing.T) {
		t.Parallel()
		h := &heap{}
		h.index(make([]ocispecs.Descriptor, 10_001)...)
		if _, err := audit.Read(t.Context(), h, "x"); err == nil || !strings.Contains(err.Error(), "larger than an honest one") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("product", func(t *testing.T) {
		t.Parallel()
		h := &heap{}
		top := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString("gone")}
		for range 3 { // 200³ nodes from three indexes
			level := make([]ocispecs.Descriptor, 200)
			for i := range level {
				level[i] = top
			}
			top = h.index(level...)
		}
		if _, err := audit.Read(t.Context(), h, "x"); err == nil || !strings.Contains(err.Error(), "larger than an honest one") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		h := &heap{}
		big := h.put(ocispecs.MediaTypeImageManifest, bytes.Repeat([]byte("x"), 7<<20))
		level := make([]ocispecs.Descriptor, 20)
		for i := range level {
			level[i] = big
		}
		h.index(level...)
		if _, err := audit.Read(t.Context(), h, "x"); err == nil || !strings.Contains(err.Error(), "larger than an honest one") {
			t.Errorf("error %v", err)
		}
	})
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	repo := registrytest.Serve(t) + "/hello"
	if _, err := audit.Read(t.Context(), audit.Registry(newClient(t)), repo+":1"); err == nil || !strings.Contains(err.Error(), "does not have it") {
		t.Errorf("registry: %v", err)
	}
	if _, err := audit.Read(t.Context(), audit.Layout(t.TempDir()), "hello"); err == nil || !strings.Contains(err.Error(), "assemble") {
		t.Errorf("layout: %v", err)
	}
}

// FuzzRead reads foreign bytes as each kind of manifest.
func FuzzRead(f *testing.F) {
	h := &heap{}
	f.Add(h.blobs[h.index(h.image(amd64)).Digest], []byte("{}"))
	image := h.image(amd64)
	f.Add(h.blobs[image.Digest], []byte(`{"os":"linux","architecture":"arm"}`))
	f.Add([]byte(`{"manifests":[{"platform":{"os":""}},{"annotations":{"vnd.docker.reference.type":"attestation-manifest"}}]}`), []byte("null"))
	f.Add([]byte(`{"config":null,"layers":[null],"subject":{}}`), []byte(`{"created":"x"}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		for _, mediaType := range []string{ocispecs.MediaTypeImageIndex, ocispecs.MediaTypeImageManifest, "application/vnd.docker.distribution.manifest.list.v2+json", ""} {
			h := &heap{}
			child := h.image(config)
			foreign := h.put(mediaType, manifest)
			h.index(child, foreign)
			tree, err := audit.Read(context.Background(), h, "x")
			if err != nil {
				continue
			}
			raw, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range string(raw) {
				if r < 0x20 || r >= 0x7f && r < 0xa0 {
					t.Fatalf("the JSON holds the control character %U: %q", r, raw)
				}
			}
		}
	})
}
