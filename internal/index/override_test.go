package index_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// What a plan says of a platform is an override as it is.
var _ = index.Override(plan.Fields{})

func TestOverrideFields(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	repo := registrytest.Serve(t) + "/app"
	windows := ocispecs.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10.0.20348.2700", OSFeatures: []string{"win32k"}}
	tests := []struct {
		name   string
		config ocispecs.Platform
		o      index.Override
		want   ocispecs.Platform
		says   string
	}{
		{name: "a version where there is none", config: ocispecs.Platform{OS: "linux", Architecture: "arm64"}, o: index.Override{OSVersion: "6.1"}, want: ocispecs.Platform{OS: "linux", Architecture: "arm64", OSVersion: "6.1"}},
		{name: "a version cleared", config: windows, o: index.Override{Clear: []string{"os_version"}}, want: ocispecs.Platform{OS: "windows", Architecture: "amd64", OSFeatures: []string{"win32k"}}},
		{name: "another version", config: windows, o: index.Override{OSVersion: "10.0.1"}, says: `contradicts the image's config, which says "10.0.20348.2700"`},
		{name: "a further feature", config: windows, o: index.Override{OSFeatures: []string{"win32k", "x"}}, want: ocispecs.Platform{OS: "windows", Architecture: "amd64", OSVersion: windows.OSVersion, OSFeatures: []string{"win32k", "x"}}},
		{name: "a needed feature cleared", config: windows, o: index.Override{Clear: []string{"os_features"}}, says: `leave out "win32k"`},
		{name: "the variant spelt out", config: ocispecs.Platform{OS: "linux", Architecture: "arm64"}, o: index.Override{Variant: "v8"}, want: ocispecs.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}},
		{name: "the variant that is meant cleared", config: ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, o: index.Override{Clear: []string{"variant"}}, want: ocispecs.Platform{OS: "linux", Architecture: "arm"}},
		{name: "another variant cleared", config: ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, o: index.Override{Clear: []string{"variant"}}, says: "linux/arm/v7 contradicts the image's config, which says linux/arm/v6"},
		{name: "another variant", config: ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, o: index.Override{Variant: "v6"}, says: "repair = true"},
		{name: "another architecture", config: ocispecs.Platform{OS: "linux", Architecture: "amd64"}, o: index.Override{Architecture: "arm64"}, says: "which says linux/amd64"},
		{name: "another os", config: ocispecs.Platform{OS: "linux", Architecture: "amd64"}, o: index.Override{OS: "freebsd"}, says: "freebsd/amd64 contradicts"},
		{name: "no architecture", config: ocispecs.Platform{OS: "linux", Architecture: "amd64"}, o: index.Override{Clear: []string{"architecture"}}, says: "must have an os and an architecture"},
		{name: "not needed repair", config: ocispecs.Platform{OS: "linux", Architecture: "arm64"}, o: index.Override{OSVersion: "6.1", Repair: true}, want: ocispecs.Platform{OS: "linux", Architecture: "arm64", OSVersion: "6.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: tt.config}})
			before, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "app", Children: resolve(t, client, repo+"@"+image.Pushed.Digest.String())})
			if err != nil {
				t.Fatal(err)
			}
			tt.o.Platform = tt.config
			d, err := index.Annotate(dir, "app", nil, []index.Override{tt.o})
			if tt.says != "" {
				var e *index.PlatformError
				if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error %v, want %q", err, tt.says)
				}
				if after, err := index.Open(dir, "app"); err != nil || !bytes.Equal(before.Raw, after.Raw) {
					t.Errorf("the draft changed: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, d.Index.Manifests[0].Platform); diff != "" {
				t.Error(diff)
			}
			if d.Index.Manifests[0].Digest != image.Manifest.Digest || len(d.Repaired()) != 0 {
				t.Error("the image was written anew")
			}
		})
	}
}

// TestRepair corrects a config, at the draft and, for a source that says
// something else, when it is assembled.
func TestRepair(t *testing.T) {
	t.Parallel()
	bare := ocispecs.Platform{OS: "linux", Architecture: "arm"} // an old toolchain's: v6 or v7?
	for _, docker := range []bool{false, true} {
		ctx, client, dir := t.Context(), newClient(t), t.TempDir()
		repo := registrytest.Serve(t) + "/app"
		spec := func(layer string) registrytest.Spec {
			return registrytest.Spec{Config: ocispecs.Image{Platform: bare, Author: "acme"}, Layers: [][]byte{[]byte(layer)}, Docker: docker, Attested: !docker, Annotations: map[string]string{"k": "v"}}
		}
		v6 := registrytest.Push(t, repo, spec("v6"))
		v7 := registrytest.Push(t, repo, spec("v7"))
		v6Ref, v7Ref := repo+"@"+v6.Pushed.Digest.String(), repo+"@"+v7.Pushed.Digest.String()
		claim := index.Override{Platform: platform(t, "linux/arm/v6"), Source: v6Ref, Repair: true}
		a := index.Assembly{Target: "app", Children: resolve(t, client, v6Ref, v7Ref), Overrides: []index.Override{claim}, Docker: docker}
		d, err := index.Assemble(ctx, client, dir, a)
		if err != nil {
			t.Fatal(err)
		}
		checkRepaired(t, d, v6.Manifest.Digest, "linux/arm/v6", docker)
		if kept := len(d.Index.Manifests) - len(d.Children()); !docker && kept != 1 {
			t.Errorf("%d attestations, want that of the child that stayed", kept)
		}

		// The same at the draft, from v7 to v5: what the first repair made stays.
		fix := index.Override{Platform: platform(t, "linux/arm/v7"), Variant: "v5", Repair: true}
		fixed, err := index.Annotate(dir, "app", nil, []index.Override{claim, fix})
		if err != nil {
			t.Fatal(err)
		}
		checkRepaired(t, fixed, v7.Manifest.Digest, "linux/arm/v5", docker)
		if len(fixed.Repaired()) != 2 || len(fixed.Index.Manifests) != 2 {
			t.Errorf("repaired %+v", fixed.Repaired())
		}
		again, err := index.Annotate(dir, "app", nil, []index.Override{claim, fix})
		if err != nil || !bytes.Equal(again.Raw, fixed.Raw) || len(again.Repaired()) != 2 {
			t.Errorf("a second run gives other bytes, or an error: %v", err)
		}
		for _, to := range []string{repo, repo + "-copy"} {
			if err := index.Upload(ctx, client, again, []string{to}); err != nil {
				t.Fatal(err)
			}
			for _, r := range again.Repaired() {
				checkPulls(t, client, to, r.To)
			}
		}
		plain, err := index.Annotate(dir, "app", nil, []index.Override{claim})
		if err != nil || !bytes.Equal(plain.Raw, d.Raw) || len(plain.Repaired()) != 1 {
			t.Errorf("without the second repair it is not what was assembled: %v", err)
		}

		clash := index.Override{Platform: platform(t, "linux/arm/v7"), Variant: "v6", Repair: true}
		if _, err := index.Annotate(dir, "app", nil, []index.Override{clash}); err == nil || !strings.Contains(err.Error(), "two images are for it") {
			t.Errorf("two images for one platform: %v", err)
		}
	}
}

// checkRepaired compares the corrected child of a draft with the original.
func checkRepaired(t *testing.T, d *index.Draft, from digest.Digest, text string, docker bool) {
	t.Helper()
	for _, r := range d.Repaired() {
		if r.From != from {
			continue
		}
		if r.Platform != text || r.To == from || (r.Attestations == 0) != docker {
			t.Errorf("repaired %+v", r)
		}
		raw, err := d.Blob(ocispecs.Descriptor{Digest: r.To})
		if err != nil {
			t.Fatal(err)
		}
		var m ocispecs.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		config, err := d.Blob(m.Config)
		if err != nil {
			t.Fatal(err)
		}
		var image ocispecs.Image
		if err := json.Unmarshal(config, &image); err != nil {
			t.Fatal(err)
		}
		if want := platform(t, text); image.Variant != want.Variant || image.Author != "acme" || m.Config.Size != int64(len(config)) {
			t.Errorf("config %s", config)
		}
		if m.Annotations["k"] != "v" || len(m.Layers) != 1 || (m.Config.MediaType == ocispecs.MediaTypeImageConfig) == docker {
			t.Errorf("manifest %s", raw)
		}
		return
	}
	t.Errorf("%s was not repaired: %+v", from, d.Repaired())
}

// checkPulls reads an image with its config and layers.
func checkPulls(t *testing.T, client *registry.Client, repo string, d digest.Digest) {
	t.Helper()
	_, raw, err := client.Manifest(t.Context(), repo+"@"+d.String())
	if err != nil {
		t.Fatal(err)
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	for _, desc := range append(m.Layers, m.Config) {
		if _, err := client.Blob(t.Context(), repo, desc, 1<<20); err != nil {
			t.Error(err)
		}
	}
}

// TestRepairWithinIndex has an index that says v6 and v7 of images whose
// configs say neither, as those of Docker's old builder do.
func TestRepairWithinIndex(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	repo := registrytest.Serve(t) + "/app"
	var old ocispecs.Index
	for _, variant := range []string{"v6", "v7"} {
		image := registrytest.Push(t, repo, registrytest.Spec{Config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "arm"}}, Layers: [][]byte{[]byte(variant)}})
		desc := image.Manifest
		desc.Platform = &ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: variant}
		old.Manifests = append(old.Manifests, desc)
	}
	ref := repo + "@" + registrytest.PushIndex(t, repo, old).Digest.String()
	a := index.Assembly{Target: "app", Children: resolve(t, client, ref)}
	_, err := index.Assemble(t.Context(), client, dir, a)
	if err == nil || !strings.Contains(err.Error(), `platform "linux/arm/v6" { repair = true }`) {
		t.Errorf("error %v", err)
	}
	a.Overrides = []index.Override{{Platform: platform(t, "linux/arm/v6"), Repair: true}}
	d, err := index.Assemble(t.Context(), client, dir, a)
	if err != nil {
		t.Fatal(err)
	}
	repaired := d.Repaired()
	if len(repaired) != 1 || repaired[0].From != old.Manifests[0].Digest || d.Index.Manifests[1].Digest != old.Manifests[1].Digest {
		t.Errorf("repaired %+v", repaired)
	}
}
