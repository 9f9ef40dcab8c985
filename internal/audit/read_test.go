package audit_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

func newClient(t testing.TB) *registry.Client {
	t.Helper()
	client, err := registry.New(nil, registry.Options{Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// save writes what a digest names into an OCI image layout, without layers, as
// a draft is.
func save(t *testing.T, client *registry.Client, dir, repo, name string, top ocispecs.Descriptor) {
	t.Helper()
	write := func(raw []byte, path ...string) {
		file := filepath.Join(append([]string{dir}, path...)...)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var blob func(desc ocispecs.Descriptor)
	blob = func(desc ocispecs.Descriptor) {
		_, raw, err := client.Manifest(t.Context(), repo+"@"+desc.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		write(raw, "blobs", "sha256", desc.Digest.Encoded())
		var names struct {
			Manifests []ocispecs.Descriptor `json:"manifests"`
			Config    ocispecs.Descriptor   `json:"config"`
		}
		if err := json.Unmarshal(raw, &names); err != nil {
			t.Fatal(err)
		}
		for _, child := range names.Manifests {
			blob(child)
		}
		if names.Config.Digest != "" {
			raw, err := client.Blob(t.Context(), repo, names.Config, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			write(raw, "blobs", "sha256", names.Config.Digest.Encoded())
		}
	}
	blob(top)
	top.Annotations = map[string]string{ocispecs.AnnotationRefName: name, "io.github.archmage-build.base": "own"}
	raw, err := json.Marshal(ocispecs.Index{Manifests: []ocispecs.Descriptor{top}})
	if err != nil {
		t.Fatal(err)
	}
	write(raw, "index.json")
}

// TestDraftAndPublished reads the same index from a layout and from the
// registry.
func TestDraftAndPublished(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var entries []ocispecs.Descriptor
	for _, p := range []ocispecs.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "arm", Variant: "v6"}} {
		image := registrytest.Push(t, repo, registrytest.Spec{
			Config: ocispecs.Image{
				Created:  &created,
				Platform: p,
				Config: ocispecs.ImageConfig{
					Entrypoint: []string{"/hello"}, User: "1000", Env: []string{"A=b"},
					Labels: map[string]string{"l": "v"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}},
				},
			},
			Layers:      [][]byte{[]byte("layer of " + p.Variant)},
			Annotations: map[string]string{"m": "n"},
			Attested:    true,
		})
		image.Manifest.Platform = &p
		entries = append(entries, image.Manifest, image.Attestation)
	}
	top := registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: entries, Annotations: map[string]string{"k": "v"}})
	save(t, client, dir, repo, "hello", top)

	draft, err := audit.Read(ctx, audit.Layout(dir), "hello")
	if err != nil {
		t.Fatal(err)
	}
	published, err := audit.Read(ctx, audit.Registry(client), repo+"@"+top.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(draft.Node, published.Node); diff != "" {
		t.Errorf("draft and published differ:\n%s", diff)
	}

	if draft.Kind != audit.KindIndex || draft.Digest != top.Digest || draft.Annotations["k"] != "v" {
		t.Errorf("the top is %s %s %v", draft.Kind, draft.Digest, draft.Annotations)
	}
	var names []string
	for _, child := range draft.Children {
		names = append(names, child.Name)
	}
	if diff := cmp.Diff([]string{"linux/arm64", "SBOM and provenance of linux/arm64", "linux/arm/v6", "SBOM and provenance of linux/arm/v6"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	v6 := draft.Children[2]
	config := *v6.Config
	config.Digest, config.Size = "", 0
	want := audit.Config{
		OS: "linux", Architecture: "arm", Variant: "v6", Created: &created,
		Entrypoint: []string{"/hello"}, User: "1000", Env: []string{"A=b"},
		Ports: []string{"8080/tcp"}, Labels: map[string]string{"l": "v"},
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if v6.Platform != "linux/arm/v6" || v6.Annotations["m"] != "n" || len(v6.Layers) != 1 || v6.Layers[0].Size != int64(len("layer of v6")) {
		t.Errorf("the image is %+v", v6)
	}
	if sum := v6.Size + v6.Config.Size + v6.Layers[0].Size; v6.TotalSize != sum {
		t.Errorf("total size %d, want %d", v6.TotalSize, sum)
	}
	if len(draft.Images()) != 2 {
		t.Errorf("%d images, want 2", len(draft.Images()))
	}

	raw, err := json.Marshal(published)
	if err != nil {
		t.Fatal(err)
	}
	var back audit.Tree
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*published, back); diff != "" {
		t.Errorf("JSON loses something:\n%s", diff)
	}
}
