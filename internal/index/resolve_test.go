package index_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// tagged gives a pushed manifest a tag.
func tagged(t *testing.T, client *registry.Client, repo, tag string, d digest.Digest) string {
	t.Helper()
	desc, raw, err := client.Manifest(t.Context(), repo+"@"+d.String())
	if err != nil {
		t.Fatal(err)
	}
	registrytest.Put(t, repo, tag, desc.MediaType, raw)
	return repo + ":" + tag
}

func resolve(t *testing.T, client *registry.Client, refs ...string) []index.Child {
	t.Helper()
	children, err := index.ResolveAll(t.Context(), client, refs)
	if err != nil {
		t.Fatal(err)
	}
	return children
}

// TestWalkthrough is the case people come from: one tag per architecture, in
// several repositories and registries, made into an index elsewhere.
func TestWalkthrough(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	home, away := registrytest.Serve(t), registrytest.Serve(t)
	var refs []string
	digests := map[string]digest.Digest{}
	for i, text := range asked {
		repo := []string{home + "/app", home + "/parts", away + "/app", away + "/app"}[i]
		children, images := built(t, repo, []string{text}, i%2 == 0)
		refs = append(refs, tagged(t, client, repo, "1-"+strings.ReplaceAll(text, "/", "-"), children[0].Digest))
		digests[text] = images[text].Manifest.Digest
	}
	for name, want := range map[string][]string{"given": {"linux/arm/v6", "linux/amd64", "linux/arm64", "linux/arm/v7"}, "left out": asked} {
		a := index.Assembly{Target: "app", Children: resolve(t, client, refs...)}
		if name == "given" {
			a.Platforms = parse(t, want)
		}
		d, err := index.Assemble(ctx, client, dir, a)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, child := range d.Children() {
			got = append(got, platforms.Format(*child.Platform))
			if child.Digest != digests[got[len(got)-1]] {
				t.Errorf("%s is %s, which is not what was pushed", got[len(got)-1], child.Digest)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("platforms %s:\n%s", name, diff)
		}
		if len(d.Index.Manifests) != 6 {
			t.Errorf("%d entries, want 4 images and 2 attestations", len(d.Index.Manifests))
		}
	}
	d, err := index.Open(dir, "app")
	if err != nil {
		t.Fatal(err)
	}
	if err := index.Upload(ctx, client, d, []string{away + "/app", home + "/out"}); err != nil {
		t.Fatal(err)
	}
	for _, repo := range []string{away + "/app", home + "/out"} {
		if got := resolve(t, client, repo+"@"+d.Descriptor.Digest.String()); len(got) != 4 {
			t.Errorf("%s: %d images", repo, len(got))
		}
	}
	stripped, err := index.Assemble(ctx, client, dir, index.Assembly{Target: "app", Children: resolve(t, client, refs...), StripAttestations: true})
	if err != nil || len(stripped.Index.Manifests) != 4 {
		t.Errorf("stripped: %+v, %v", stripped, err)
	}
}

// TestResolveFlattens takes an index apart, and follows a tag that moved.
func TestResolveFlattens(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/app"
	children, images := built(t, repo, asked, true)
	var outer ocispecs.Index // of BuildKit's indexes of one platform
	for _, c := range children {
		desc, err := client.Head(t.Context(), repo+"@"+c.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		outer.Manifests = append(outer.Manifests, desc)
	}
	ref := tagged(t, client, repo, "1", registrytest.PushIndex(t, repo, outer).Digest)
	found := resolve(t, client, ref)
	if len(found) != 4 {
		t.Fatalf("%d images", len(found))
	}
	for i, c := range found {
		text := platforms.Format(c.Platform)
		if text != platforms.Format(children[i].Platform) || c.Ref != ref || c.Repository != repo {
			t.Errorf("image %d is %+v", i, c)
		}
		if diff := cmp.Diff([]ocispecs.Descriptor{images[text].Attestation}, c.Attestations); diff != "" {
			t.Errorf("attestations of %s:\n%s", text, diff)
		}
	}
	tagged(t, client, repo, "1", images["linux/arm64"].Manifest.Digest)
	if found := resolve(t, client, ref); len(found) != 1 || found[0].Digest != images["linux/arm64"].Manifest.Digest {
		t.Errorf("after the tag moved: %+v", found)
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/app"
	_, images := built(t, repo, asked[:2], true)
	good := images["linux/amd64"].Manifest
	lying, layer := good, good
	lying.Size++
	layer.MediaType = ocispecs.MediaTypeImageLayerGzip
	deep := registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{good}})
	for range 3 {
		deep = registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{deep}})
	}
	of := func(descs ...ocispecs.Descriptor) digest.Digest {
		return registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: descs}).Digest
	}
	const schema1 = "application/vnd.docker.distribution.manifest.v1+json"
	tests := []struct {
		name string
		d    digest.Digest
		says string
	}{
		{"a Helm chart", registrytest.PushArtifact(t, repo, "application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip").Digest, "a Helm chart"},
		{"an artifact", registrytest.PushArtifact(t, repo, ocispecs.MediaTypeEmptyJSON).Digest, "an artifact"},
		{"schema 1", registrytest.Put(t, repo, "", schema1, []byte(`{"schemaVersion":1,"name":"app"}`)).Digest, "Docker's schema 1"},
		{"something else", registrytest.Put(t, repo, "", "application/vnd.acme.index+json", []byte(`{}`)).Digest, "vnd.acme.index"},
		{"no platform", registrytest.Push(t, repo, registrytest.Spec{}).Pushed.Digest, "states no platform"},
		{"an attestation alone", images["linux/amd64"].Attestation.Digest, "for no platform"},
		{"an empty index", of(), "holds no image"},
		{"a layer in an index", of(layer), "image.layer.v1.tar"},
		{"a lying size", of(lying), "the index states"},
		{"an empty manifest list", registrytest.Put(t, repo, "", "application/vnd.docker.distribution.manifest.list.v2+json", []byte(`{"schemaVersion":2,"manifests":[]}`)).Digest, "holds no image"},
		{"an attestation of another image", of(good, images["linux/arm64"].Attestation), "which is not in it"},
		{"indexes without end", deep.Digest, "deep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := index.Resolve(t.Context(), client, repo+"@"+tt.d.String())
			var e *index.SourceError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(e.Ref, tt.d.String()) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
	if _, err := index.Resolve(t.Context(), client, repo+":nothing"); !registry.IsNotFound(err) || !strings.Contains(err.Error(), repo+":nothing") {
		t.Errorf("a tag that does not exist: %v", err)
	}
	_, err := index.ResolveAll(t.Context(), client, []string{"not a reference", repo + ":nothing", repo + "@" + deep.Digest.String()})
	for _, say := range []string{"not a reference", repo + ":nothing", "deep"} {
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("error %v does not tell of %q", err, say)
		}
	}
}

// TestResolveLostChild has a registry that lost a child of an index.
func TestResolveLostChild(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	host := registrytest.Serve(t)
	repo := host + "/app"
	_, images := built(t, repo, asked[:2], false)
	lost := images["linux/arm64"].Manifest
	top := registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{images["linux/amd64"].Manifest, lost}})
	remove(t, host, "app", lost.Digest.String())
	_, err := index.Resolve(t.Context(), client, repo+"@"+top.Digest.String())
	var e *index.SourceError
	if !errors.As(err, &e) || !strings.Contains(err.Error(), lost.Digest.String()) {
		t.Errorf("error %v", err)
	}
}

func remove(t *testing.T, host, repo, what string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+host+"/v2/"+repo+"/manifests/"+what, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := registrytest.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("deleting %s: %s", what, resp.Status)
	}
}

func TestSourcesRefused(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/app"
	children, images := built(t, repo, asked, false)
	var refs []string
	for _, c := range children {
		refs = append(refs, repo+"@"+c.Digest.String())
	}
	wrong := images["linux/amd64"].Manifest
	wrong.Platform = &ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	lie := repo + "@" + registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{wrong}}).Digest.String()
	both := repo + "@" + registrytest.PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{images["linux/amd64"].Manifest, images["linux/arm64"].Manifest}}).Digest.String()
	v5 := index.Override{Platform: platform(t, "linux/arm/v5")}
	claimed := func(ref string) []index.Override { o := v5; o.Source = ref; return []index.Override{o} }
	tests := []struct {
		name      string
		refs      []string
		platforms []string
		overrides []index.Override
		says      string
	}{
		{"duplicate", append(slices.Clone(refs), both), nil, nil, "two images were given"},
		{"missing", refs, append([]string{"linux/s390x"}, asked...), nil, "none of the sources has it"},
		{"surplus", refs, asked[:3], nil, "platforms does not"},
		{"a lying descriptor", []string{lie}, nil, nil, "the image's config, which says linux/amd64"},
		{"claimed, not repaired", refs, nil, claimed(refs[0]), "repair = true"},
		{"claimed, an index of two", append([]string{both}, refs[:2]...), nil, claimed(both), "an index of several images"},
		{"claimed, unknown", refs, nil, claimed(repo + ":none"), "none of the target's sources"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := index.Assembly{Target: "app", Children: resolve(t, client, tt.refs...), Overrides: tt.overrides}
			if tt.platforms != nil {
				a.Platforms = parse(t, tt.platforms)
			}
			_, err := index.Assemble(t.Context(), client, filepath.Join(t.TempDir(), "layout"), a)
			var e *index.PlatformError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
	partial := index.Assembly{Target: "app", Children: resolve(t, client, refs...), Platforms: parse(t, asked[:1]), Partial: true}
	if d, err := index.Assemble(t.Context(), client, t.TempDir(), partial); err != nil || len(d.Children()) != 1 {
		t.Errorf("a part of the platforms: %v", err)
	}
	optional := index.Assembly{Target: "app", Children: resolve(t, client, refs...), Platforms: append(parse(t, asked), v5.Platform), Overrides: []index.Override{{Platform: v5.Platform, Optional: true}}}
	if d, err := index.Assemble(t.Context(), client, t.TempDir(), optional); err != nil || len(d.Children()) != 4 {
		t.Errorf("an optional platform that is missing: %v", err)
	}
}

// TestSourceTagsStay has sources by the very tags that the index's platforms
// would get. They name indexes with attestations, which would be lost.
func TestSourceTagsStay(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/app"
	children, _ := built(t, repo, asked[:2], true)
	refs := []string{tagged(t, client, repo, "1-amd64", children[1].Digest), repo + "@" + children[0].Digest.String()}
	var first digest.Digest
	for range 2 {
		if _, err := index.Assemble(ctx, client, dir, index.Assembly{Target: "app", Children: resolve(t, client, refs...)}); err != nil {
			t.Fatal(err)
		}
		d, err := index.Open(dir, "app")
		if err != nil {
			t.Fatal(err)
		}
		if first != "" && first != d.Descriptor.Digest {
			t.Errorf("the second time the index is %s, not %s", d.Descriptor.Digest, first)
		}
		first = d.Descriptor.Digest
		if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
			t.Fatal(err)
		}
		moves, err := index.Moves([]index.Tagging{{Draft: d, Tags: []string{repo + ":1"}}}, "{tag}-{arch}{variant}")
		if err != nil {
			t.Fatal(err)
		}
		if len(moves) != 2 || moves[0].Tag != repo+":1-arm64" || moves[1].Tag != repo+":1" {
			t.Errorf("moves %+v", moves)
		}
		if _, err := index.Promote(ctx, client, moves, index.Promotion{}); err != nil {
			t.Fatal(err)
		}
		if desc, err := client.Head(ctx, refs[0]); err != nil || desc.Digest != children[1].Digest {
			t.Errorf("the source is %s now, %v", desc.Digest, err)
		}
	}
}
