package audit_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
)

// layoutOf writes an image as an OCI layout and returns the layout's files,
// which an archive of it has too.
func layoutOf(t *testing.T, path string) []file {
	t.Helper()
	raw := tarOf(t, text("etc/motd", "hi"))
	blob := gzipped(t, raw)
	marshal := repo{t: t}.marshal
	config := marshal(ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "arm64"}, Config: ocispecs.ImageConfig{Cmd: []string{"/app"}}, RootFS: ocispecs.RootFS{DiffIDs: []digest.Digest{digest.FromBytes(raw)}}})
	manifest := marshal(ocispecs.Manifest{
		MediaType: ocispecs.MediaTypeImageManifest,
		Config:    ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:    []ocispecs.Descriptor{{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(blob), Size: int64(len(blob))}},
	})
	index := marshal(ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{{
		MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest)), Annotations: map[string]string{ocispecs.AnnotationRefName: "hello"},
	}}})
	out := []file{text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), data("index.json", index)}
	for _, b := range [][]byte{blob, config, manifest} {
		out = append(out, data("blobs/sha256/"+digest.FromBytes(b).Encoded(), b))
	}
	if path != "" {
		for _, f := range out {
			name := filepath.Join(path, f.name)
			if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, f.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// dockerSave is what `docker save` wrote before it wrote layouts.
func dockerSave(t *testing.T) []file {
	t.Helper()
	raw := tarOf(t, text("etc/motd", "hi"))
	config := repo{t: t}.marshal(ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "arm64"}, Config: ocispecs.ImageConfig{Cmd: []string{"/app"}}, RootFS: ocispecs.RootFS{DiffIDs: []digest.Digest{digest.FromBytes(raw), digest.FromBytes(raw)}}})
	name := digest.FromBytes(config).Encoded() + ".json"
	manifest := fmt.Sprintf(`[{"Config":%q,"RepoTags":["hello:latest"],"Layers":["one/layer.tar","two/layer.tar"]}]`, name)
	return []file{data(name, config), data("one/layer.tar", raw), symlink("two/layer.tar", "../one/layer.tar"), text("manifest.json", manifest)}
}

func writeFile(t *testing.T, raw []byte, name ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{t.TempDir()}, name...)...)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOpen audits one image from every place that can hold it.
func TestOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	layout := layoutOf(t, dir)
	archive := writeFile(t, tarOf(t, layout...), "hello.tar")
	saved := writeFile(t, tarOf(t, dockerSave(t)...), "saved.tar")
	for _, ref := range []string{
		"oci:" + dir, "oci:" + dir + ":hello", dir,
		archive, "oci-archive:" + archive, "oci-archive:" + archive + ":hello",
		saved, "docker-archive:" + saved, "docker-archive:" + saved + ":hello:latest",
	} {
		source, name, closeSource, err := audit.Open(newClient(t), ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		report, err := audit.Audit(t.Context(), source, name, audit.Options{})
		closeSource()
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if len(report.Images) != 1 || report.Images[0].Files != 1 || report.Images[0].Platform != "linux/arm64" {
			t.Errorf("%s: %+v", ref, report.Images)
		}
		// The image is sound but for its command, which is not in it.
		if fails := report.Fails(audit.Error); len(fails) != 1 || fails[0].ID != "entrypoint-missing" {
			t.Errorf("%s: %q", ref, fails)
		}
	}
}

func TestOpenBad(t *testing.T) {
	t.Parallel()
	whole := tarOf(t, layoutOf(t, "")...)
	saved := dockerSave(t)
	for _, tt := range []struct {
		ref, says string
	}{
		{filepath.Join(t.TempDir(), "gone.tar"), "no such file"},
		{writeFile(t, whole[:len(whole)/2], "a.tar"), "truncated"},
		{writeFile(t, nil, "a.tar"), "empty or truncated"},
		{writeFile(t, gzipped(t, whole), "a.tar"), "compressed"},
		{writeFile(t, []byte(strings.Repeat("text\n", 500)), "a.tar"), "no tar archive"},
		{writeFile(t, tarOf(t, text("readme", "x")), "a.tar"), "neither index.json nor manifest.json"},
		{writeFile(t, tarOf(t, text("index.json", "{")), "a.tar"), "index.json"},
		{writeFile(t, tarOf(t, text("manifest.json", "{")), "a.tar"), "manifest.json"},
		{writeFile(t, tarOf(t, saved[0], saved[3]), "a.tar"), "does not hold it"},
		{writeFile(t, tarOf(t, saved[1], saved[3]), "a.tar"), "reading the config"},
		{"oci:" + t.TempDir(), "no OCI image layout"},
		{"oci-archive:" + writeFile(t, whole, "a.tar") + ":other", "it holds no"},
		{writeFile(t, tarOf(t, text("index.json", `{"manifests":[]}`)), "a.tar"), "holds no image"},
	} {
		source, name, closeSource, err := audit.Open(newClient(t), tt.ref)
		if err == nil {
			_, err = audit.Audit(t.Context(), source, name, audit.Options{})
		}
		closeSource()
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", filepath.Base(tt.ref), err, tt.says)
		}
	}
}

// TestDraft reads manifests from a layout and layers from the repository.
func TestDraft(t *testing.T) {
	t.Parallel()
	host, tamper := serve(t)
	r := repo{t: t, host: host, path: "hello"}
	client := newClient(t)
	image := image{platform: "linux/arm64", config: entry("/app"), layers: []layer{files(t, text("motd", "hi"))}}
	pushed := r.push(image)
	top := r.indexOf(ocispecs.MediaTypeImageIndex, pushed)
	dir := t.TempDir()
	save(t, client, dir, r.name(), "hello", top)
	var asked []digest.Digest
	source := audit.Draft(dir, client, func(d digest.Digest) string {
		asked = append(asked, d)
		return r.name()
	})
	report, err := audit.Audit(t.Context(), source, "hello", audit.Options{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	if fails := report.Fails(audit.Error); len(fails) != 1 || fails[0].ID != "entrypoint-missing" || len(asked) == 0 || asked[0] != pushed[0].Digest {
		t.Errorf("%q, asked for the sources of %q", fails, asked)
	}
	tamper.with(digest.FromBytes(gzipped(t, image.layers[0].tar)), nil)
	report, err = audit.Audit(t.Context(), source, "hello", audit.Options{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	if fails := report.Fails(audit.Error); len(fails) != 1 || fails[0].ID != "missing-layer" {
		t.Errorf("with the layer gone: %q", fails)
	}
}

// TestCache must not transfer a layer twice, nor trust what was damaged.
func TestCache(t *testing.T) {
	t.Parallel()
	host, tamper := serve(t)
	r := repo{t: t, host: host, path: "hello"}
	shared := files(t, text("shared", "x"))
	one := image{platform: "linux/arm64", layers: []layer{shared, files(t, text("a", "a"))}}
	two := image{platform: "linux/amd64", layers: []layer{shared, files(t, text("b", "b"))}}
	ref := r.index(r.push(one), r.push(two))
	cache := t.TempDir()
	run := func() *audit.Report {
		t.Helper()
		report, err := audit.Audit(t.Context(), audit.Registry(newClient(t)), ref, audit.Options{CacheDir: cache})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	first := run()
	size := int64(0)
	for _, raw := range [][]byte{shared.tar, one.layers[1].tar, two.layers[1].tar} {
		size += int64(len(gzipped(t, raw)))
	}
	if d := cmp.Diff(audit.Stats{Layers: 3, Transferred: size}, first.Stats); d != "" {
		t.Errorf("cold (-want +got):\n%s", d)
	}
	if d := cmp.Diff(audit.Stats{Layers: 3, Cached: 3}, run().Stats); d != "" {
		t.Errorf("warm (-want +got):\n%s", d)
	}
	known, err := filepath.Glob(filepath.Join(cache, "*", "sha256-*"))
	if err != nil || len(known) != 3 {
		t.Fatalf("the cache holds %q", known)
	}
	for _, damage := range []func(path string) error{
		func(path string) error { return os.WriteFile(path, []byte("damaged"), 0o600) },
		func(path string) error { return os.Truncate(path, 20) },
		func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		for _, path := range known {
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
		}
		again := run()
		if d := cmp.Diff(first.Images, again.Images); d != "" || again.Stats.Transferred == 0 {
			t.Errorf("damaged: %+v\n%s", again.Stats, d)
		}
	}
	// A layer that vanished is found though all about it is known.
	tamper.with(digest.FromBytes(gzipped(t, shared.tar)), nil)
	if fails := run().Fails(audit.Error); len(fails) != 2 || fails[0].ID != "missing-layer" {
		t.Errorf("vanished: %q", fails)
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	host, _ := serve(t)
	r := repo{t: t, host: host, path: "hello"}
	ref := r.index(r.push(image{platform: "linux/arm64", attested: true}), r.push(image{platform: "linux/amd64", attested: true}))
	source := audit.Registry(newClient(t))
	tree, err := audit.Read(t.Context(), source, ref)
	if err != nil {
		t.Fatal(err)
	}
	for kind, predicate := range map[string]string{audit.SBOM: "https://spdx.dev/Document", audit.Provenance: "https://slsa.dev/provenance/v1"} {
		statements, err := audit.Statements(t.Context(), source, ref, tree, kind)
		if err != nil || len(statements) != 2 {
			t.Fatalf("%s: %d statements, %v", kind, len(statements), err)
		}
		var said struct{ PredicateType string }
		if err := json.Unmarshal(statements[0].Statement, &said); err != nil || said.PredicateType != predicate || statements[0].Platform != "linux/arm64" || statements[1].Platform != "linux/amd64" {
			t.Errorf("%s: %+v, %v", kind, statements, err)
		}
	}
}
