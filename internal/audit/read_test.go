package audit_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/index"
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

// TestDraftAndPublished reads the same index from the draft and from the
// registry.
func TestDraftAndPublished(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/hello"
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var children []index.Child
	wanted := []ocispecs.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "arm", Variant: "v6"}}
	for _, p := range wanted {
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
		children = append(children, index.Child{Repository: repo, Digest: image.Pushed.Digest, Platform: p})
	}
	_, err := index.Assemble(ctx, client, dir, index.Assembly{Target: "hello", Platforms: wanted, Children: children})
	if err != nil {
		t.Fatal(err)
	}
	d, err := index.Annotate(dir, "hello", []index.Annotation{{Level: index.LevelIndex, Key: "k", Value: "v"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}

	draft, err := audit.Read(ctx, audit.Layout(dir), "hello")
	if err != nil {
		t.Fatal(err)
	}
	published, err := audit.Read(ctx, audit.Registry(client), repo+"@"+d.Descriptor.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(draft.Node, published.Node); diff != "" {
		t.Errorf("draft and published differ:\n%s", diff)
	}

	if draft.Kind != audit.KindIndex || draft.Digest != d.Descriptor.Digest || draft.Annotations["k"] != "v" {
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
