package index_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/app"
	amd64, arm64, v7 := platform(t, "linux/amd64"), platform(t, "linux/arm64"), platform(t, "linux/arm/v7")
	push := func(p ocispecs.Platform, config ocispecs.ImageConfig, created time.Time, layers ...string) registrytest.Image {
		spec := registrytest.Spec{Config: ocispecs.Image{Platform: p, Config: config, Created: &created}, Attested: true}
		for _, layer := range layers {
			spec.Layers = append(spec.Layers, []byte(layer))
		}
		return registrytest.Push(t, repo, spec)
	}
	draft := func(annotations []index.Annotation, images ...registrytest.Image) *index.Draft {
		t.Helper()
		var refs []string
		for _, image := range images {
			refs = append(refs, repo+"@"+image.Pushed.Digest.String())
		}
		if _, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "app", Children: resolve(t, client, refs...)}); err != nil {
			t.Fatal(err)
		}
		d, err := index.Annotate(dir, "app", annotations, nil)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t1, t2 := time.Unix(1e9, 0).UTC(), time.Unix(2e9, 0).UTC()
	before := ocispecs.ImageConfig{
		Entrypoint: []string{"/app"}, Env: []string{"PATH=/bin", "A=1"}, User: "root",
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, Labels: map[string]string{"k": "v"},
	}
	after := ocispecs.ImageConfig{
		Entrypoint: []string{"/app", "-v"}, Env: []string{"PATH=/bin", "B=2"}, User: "1000",
		ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Labels: map[string]string{"k": "w"},
	}
	oldAMD64, newAMD64 := push(amd64, before, t1, "base", "one"), push(amd64, after, t2, "base", "three", "four")
	sameARM64, goneV7, newV6 := push(arm64, before, t1, "base"), push(v7, before, t1), push(platform(t, "linux/arm/v6"), before, t1)

	old := draft([]index.Annotation{{Level: index.LevelIndex, Key: "title", Value: "old"}, {Level: index.LevelManifestDescriptor, Platform: &arm64, Key: "board", Value: "any"}}, oldAMD64, sameARM64, goneV7)
	if err := index.Upload(ctx, client, old, []string{repo}); err != nil {
		t.Fatal(err)
	}
	ref := tagged(t, client, repo, "1", old.Descriptor.Digest)
	if same, err := index.Diff(ctx, client, old, ref); err != nil || !same.Same() || same.Changed != nil || same.Added != nil || same.Order != nil {
		t.Errorf("with itself: %+v, %v", same, err)
	}

	d := draft([]index.Annotation{{Level: index.LevelIndex, Key: "title", Value: "new"}, {Level: index.LevelIndex, Key: "licence", Value: "MIT"}}, sameARM64, newAMD64, newV6)
	got, err := index.Diff(ctx, client, d, ref)
	if err != nil {
		t.Fatal(err)
	}
	size := func(layers ...string) (n int64) {
		for _, layer := range layers {
			n += int64(len(layer))
		}
		return n
	}
	want := &index.Difference{
		Reference: ref, Published: old.Descriptor.Digest, Draft: d.Descriptor.Digest,
		Added:   []index.DifferentChild{{Platform: "linux/arm/v6", Digest: newV6.Manifest.Digest}},
		Removed: []index.DifferentChild{{Platform: "linux/arm/v7", Digest: goneV7.Manifest.Digest}},
		Changed: []index.ChangedChild{
			{Platform: "linux/arm64", From: sameARM64.Manifest.Digest, To: sameARM64.Manifest.Digest, Changes: []index.Change{{Field: "descriptor annotation board", From: "any"}}},
			{
				Platform: "linux/amd64", From: oldAMD64.Manifest.Digest, To: newAMD64.Manifest.Digest,
				Changes: []index.Change{
					{Field: "attestations", From: oldAMD64.Attestation.Digest.String(), To: newAMD64.Attestation.Digest.String()},
					{Field: "created", From: "2001-09-09T01:46:40Z", To: "2033-05-18T03:33:20Z"},
					{Field: "entrypoint", From: `["/app"]`, To: `["/app","-v"]`},
					{Field: "env A", From: `"1"`},
					{Field: "env B", To: `"2"`},
					{Field: "label k", From: `"v"`, To: `"w"`},
					{Field: "port 80/tcp", From: "exposed"},
					{Field: "port 8080/tcp", To: "exposed"},
					{Field: "user", From: "root", To: "1000"},
				},
				Layers: &index.LayerChange{Common: 1, From: 2, To: 3, FromSize: size("base", "one"), ToSize: size("base", "three", "four")},
			},
		},
		Order:       &index.Change{Field: "order", From: "linux/amd64, linux/arm64", To: "linux/arm64, linux/amd64"},
		Annotations: []index.Change{{Field: "annotation licence", To: "MIT"}, {Field: "annotation title", From: "old", To: "new"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var back index.Difference
	if err := json.Unmarshal(raw, &back); err != nil || cmp.Diff(*got, back, cmpopts.EquateEmpty()) != "" {
		t.Errorf("it does not survive JSON: %v", err)
	}

	fresh, err := index.Diff(ctx, client, d, repo+":none")
	if err != nil || fresh.Published != "" || len(fresh.Added) != 3 || fresh.Same() {
		t.Errorf("with nothing: %+v, %v", fresh, err)
	}
	single, err := index.Diff(ctx, client, d, repo+"@"+oldAMD64.Manifest.Digest.String())
	if err != nil || single.MediaType == nil || len(single.Added) != 2 || len(single.Changed) != 1 || len(single.Removed) != 0 {
		t.Errorf("with a single image: %+v, %v", single, err)
	}
	lost := repo + "@" + digest.FromString("lost").String()
	if diff, err := index.Diff(ctx, client, d, lost); err != nil || diff.Published != "" {
		t.Errorf("with a digest that is not there: %+v, %v", diff, err)
	}
	if _, err := index.Diff(ctx, client, d, "127.0.0.1:1/x:1"); err == nil {
		t.Error("a registry that is down gave a difference")
	}
}
