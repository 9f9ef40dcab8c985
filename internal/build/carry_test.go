package build

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// An image that names its parts more often, more deeply or more of them than
// one does costs no more than an honest one, whether it comes from a registry
// or from a worker.
func TestCarryBounds(t *testing.T) {
	t.Parallel()
	client, err := registry.New(nil, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	repo := registrytest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			next.ServeHTTP(w, r)
		})
	}) + "/app"
	image := registrytest.Push(t, repo, registrytest.Spec{
		Config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "arm64"}}, Layers: [][]byte{[]byte("layer")}, Attested: true,
	})
	index := func(entries ...ocispecs.Descriptor) ocispecs.Descriptor {
		return registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: entries})
	}
	wide := image.Manifest
	for range 3 { // 200³ ways to one image
		wide = index(slices.Repeat([]ocispecs.Descriptor{wide}, 200)...)
	}
	deep := image.Manifest
	for range graphDepth + 1 {
		deep = index(deep)
	}
	var many []ocispecs.Descriptor
	for i := range graphNodes + 1 {
		many = append(many, ocispecs.Descriptor{MediaType: oci.MediaTypeDockerManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 2})
	}
	huge := image.Manifest
	huge.Size = registry.ManifestLimit + 1
	for _, tt := range []struct {
		name string
		top  ocispecs.Descriptor
		says string // "" where it is taken
		most int64  // requests
	}{
		{"as BuildKit makes it", image.Pushed, "", 20},
		{"one image named many times", wide, "", 20},
		{"indexes within indexes", deep, "deep", 40},
		{"a manifest that states a size beyond all", index(huge), "more than", 20},
	} {
		p, err := newParcel(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		asked.Store(0)
		err = p.fetch(t.Context(), client, repo, tt.top, &graph{}, 0)
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("fetching %s: %v, want %q", tt.name, err, tt.says)
		}
		if n := asked.Load(); n > tt.most {
			t.Errorf("fetching %s: %d requests", tt.name, n)
		}
		if tt.says != "" {
			continue
		}
		other := strings.TrimSuffix(repo, "app") + "other"
		if err := p.push(t.Context(), client, other, tt.top); err != nil {
			t.Errorf("pushing %s: %v", tt.name, err)
		}
		if _, err := client.Head(t.Context(), other+"@"+tt.top.Digest.String()); err != nil {
			t.Errorf("pushing %s: %v", tt.name, err)
		}
	}

	// What a worker sends is in the parcel, without a registry's own limits.
	p, err := newParcel(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(raw []byte) ocispecs.Descriptor {
		d := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		if err := content.WriteBlob(context.WithoutCancel(t.Context()), p.store, d.Digest.String(), bytes.NewReader(raw), d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	big := put(bytes.Repeat([]byte(" "), registry.ManifestLimit+1))
	big.Size = 2 // as it says
	broad := put([]byte(`{"manifests":[` + strings.Join(entries(many), ",") + `]}`))
	for name, top := range map[string]ocispecs.Descriptor{"bytes of": big, "manifests": broad} {
		err := p.push(t.Context(), client, repo, top)
		if err == nil || !strings.Contains(err.Error(), "more than") && !registry.IsNotFound(err) && !strings.Contains(err.Error(), "not found") {
			t.Errorf("%s: %v", name, err)
		}
	}
	g := &graph{}
	for i, d := range many {
		if _, err := g.enter(d, 1); (err != nil) != (i >= graphNodes) {
			t.Fatalf("manifest %d: %v", i, err)
		}
	}
}

func entries(list []ocispecs.Descriptor) []string {
	var out []string
	for _, d := range list {
		out = append(out, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size))
	}
	return out
}

// Whatever a worker sends as a manifest is refused or read, never a panic.
func FuzzNamed(f *testing.F) {
	f.Add([]byte(`{"config":{"digest":"x"},"layers":[{"digest":"x"}],"manifests":[{}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := named(ocispecs.Descriptor{}, raw)
		seen := map[digest.Digest]bool{}
		for _, d := range list {
			if seen[d.Digest] || err != nil {
				t.Fatalf("%q is there twice, or %v", d.Digest, err)
			}
			seen[d.Digest] = true
		}
	})
}
