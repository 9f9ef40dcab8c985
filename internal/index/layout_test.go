package index_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// TestFill reads the layers from the layout with a library that is not ours.
func TestFill(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	var traffic requests
	d, _ := assembled(t, client, dir, registrytest.Serve(t, traffic.wrap)+"/hello", true)
	if err := index.Fill(t.Context(), client, d); err != nil {
		t.Fatal(err)
	}
	idx, manifest := read(t, dir, d)
	layers := 0
	for _, desc := range manifest.Manifests {
		img, err := idx.Image(desc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		of, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range of {
			want, err := layer.Digest()
			if err != nil {
				t.Fatal(err)
			}
			body, err := layer.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(body)
			body.Close()
			if err != nil || digest.FromBytes(content).String() != want.String() {
				t.Errorf("layer %s: %d bytes, %v", want, len(content), err)
			}
			layers++
		}
	}
	if layers != 4*2+4*2 {
		t.Errorf("%d layers, want 16", layers)
	}

	// A later step neither loses them nor reads them again.
	d, err := index.Annotate(dir, "hello", []index.Annotation{{Level: index.LevelIndex, Key: "k", Value: "v"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	traffic.reset()
	if err := index.Fill(t.Context(), client, d); err != nil {
		t.Fatal(err)
	}
	if again := traffic.matching("GET", "/blobs/"); len(again) != 0 {
		t.Errorf("it read %q again", again)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", ".part-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestTargetsSideBySide assembles into one layout at once: no target may lose
// its entry or its blobs to another's.
func TestTargetsSideBySide(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	host := registrytest.Serve(t)
	const targets = 12
	assemblies := make([]index.Assembly, targets)
	for i := range assemblies {
		children, _ := built(t, fmt.Sprintf("%s/t%d", host, i), asked[:1+i%4], i%2 == 0)
		assemblies[i] = index.Assembly{Target: fmt.Sprintf("t%d", i), Platforms: parse(t, asked[:1+i%4]), Children: children}
	}
	var wg sync.WaitGroup
	for _, a := range assemblies {
		wg.Go(func() {
			if _, err := index.Assemble(t.Context(), client, dir, a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range assemblies {
		d, err := index.Open(dir, a.Target)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, desc := range d.Index.Manifests {
			if _, err := d.Blob(desc); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestBrokenCommitKeepsTheOldDraft lets a commit fail after its blobs were
// written and before index.json is exchanged.
func TestBrokenCommitKeepsTheOldDraft(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	old, images := assembled(t, client, dir, registrytest.Serve(t)+"/hello", true)
	marker := filepath.Join(dir, "oci-layout")
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(marker, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	child := index.Child{Repository: old.Source(images["linux/arm64"].Manifest.Digest), Digest: images["linux/arm64"].Pushed.Digest, Platform: platform(t, "linux/arm64")}
	_, err := index.Assemble(t.Context(), client, dir, index.Assembly{Target: "hello", Platforms: parse(t, []string{"linux/arm64"}), Children: []index.Child{child}})
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("error %v", err)
	}
	now, err := index.Open(dir, "hello")
	if err != nil || now.Descriptor.Digest != old.Descriptor.Digest {
		t.Errorf("the draft is another, %v", err)
	}
}

// TestLeftovers finds the half-written files of a killed process gone after
// the next step, and a download that goes on untouched.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	client, dir := newClient(t), t.TempDir()
	assembled(t, client, dir, registrytest.Serve(t)+"/hello", false)
	blobs := filepath.Join(dir, "blobs", "sha256")
	old := time.Now().Add(-48 * time.Hour)
	for name, gone := range map[string]bool{
		filepath.Join(dir, ".tmp-index.json1"): true,
		filepath.Join(blobs, ".tmp-abc1"):      true,
		filepath.Join(blobs, ".part-old"):      true,
		filepath.Join(blobs, ".part-new"):      false,
	} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "old") {
			if err := os.Chtimes(name, old, old); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := index.Annotate(dir, "hello", nil, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); os.IsNotExist(err) != gone {
			t.Errorf("%s: %v, want it gone: %t", name, err, gone)
		}
	}
}
