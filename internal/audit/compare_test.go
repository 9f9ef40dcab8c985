package audit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// memory holds blobs by digest.
type memory map[digest.Digest][]byte

func (m memory) put(raw []byte) ocispecs.Descriptor {
	d := digest.FromBytes(raw)
	m[d] = raw
	return ocispecs.Descriptor{Digest: d, Size: int64(len(raw))}
}

func (m memory) Manifest(_ context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	_, d, _ := bytes.Cut([]byte(ref), []byte("@"))
	raw := m[digest.Digest(d)]
	var of struct{ MediaType string }
	err := json.Unmarshal(raw, &of)
	return ocispecs.Descriptor{MediaType: of.MediaType, Digest: digest.Digest(d), Size: int64(len(raw))}, raw, err
}

func (m memory) OpenBlob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, error) {
	raw, ok := m[d]
	if !ok {
		return nil, ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

// variant is an image that differs from the plain one in a single thing.
type variant struct {
	entries     func([]*tar.Header) []*tar.Header
	content     string
	level       int
	config      func(*ocispecs.Image)
	annotations map[string]string
	extraLayer  bool
	index       bool
}

func (v variant) write(t *testing.T, m memory) string {
	t.Helper()
	at := time.Unix(1_000_000_000, 0)
	layer := func(headers []*tar.Header, content string, level int) (ocispecs.Descriptor, digest.Digest) {
		var plain, packed bytes.Buffer
		w := tar.NewWriter(&plain)
		for _, h := range headers {
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(content))
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := io.WriteString(w, content); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewWriterLevel(&packed, level)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(plain.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		desc := m.put(packed.Bytes())
		desc.MediaType = ocispecs.MediaTypeImageLayerGzip
		return desc, digest.FromBytes(plain.Bytes())
	}
	headers := []*tar.Header{
		{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: at},
		{Name: "dir/file", Typeflag: tar.TypeReg, Mode: 0o644, ModTime: at},
		{Name: "dir/link", Typeflag: tar.TypeSymlink, Linkname: "file", Mode: 0o777, ModTime: at},
	}
	if v.entries != nil {
		headers = v.entries(headers)
	}
	if v.content == "" {
		v.content = "content"
	}
	if v.level == 0 {
		v.level = gzip.BestSpeed
	}
	below, belowID := layer([]*tar.Header{{Name: "below", Typeflag: tar.TypeReg, Mode: 0o644, ModTime: at}}, "below", gzip.BestSpeed)
	desc, id := layer(headers, v.content, v.level)
	c := ocispecs.Image{Created: &at, RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{belowID, id}}, History: []ocispecs.History{
		{CreatedBy: "COPY below /"}, {CreatedBy: "ENV A=b", EmptyLayer: true}, {CreatedBy: "COPY dir /dir # buildkit"},
	}}
	c.Config.Env = []string{"A=b"}
	if v.config != nil {
		v.config(&c)
	}
	manifest := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Layers: []ocispecs.Descriptor{below, desc}, Annotations: v.annotations}
	if v.extraLayer {
		manifest.Layers = append(manifest.Layers, below)
	}
	encode := func(of any) []byte {
		raw, err := json.Marshal(of)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	manifest.Config = m.put(encode(c))
	top := m.put(encode(manifest))
	if v.index {
		top.MediaType = ocispecs.MediaTypeImageManifest
		other := m.put([]byte(`{"of":"` + t.Name() + `"}`)) // an attestation
		top = m.put(encode(ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{top, other}}))
	}
	return "registry.example/app@" + top.Digest.String()
}

func TestCompare(t *testing.T) {
	t.Parallel()
	with := func(change func(h []*tar.Header)) func([]*tar.Header) []*tar.Header {
		return func(h []*tar.Header) []*tar.Header { change(h); return h }
	}
	const layer = "layer 2 (COPY dir /dir), "
	for name, tt := range map[string]struct {
		other variant
		want  string
	}{
		"nothing":             {variant{}, ""},
		"attestations beside": {variant{index: true}, ""},
		"content":             {variant{content: "CONTENT"}, layer + "dir/file: content differs"},
		"size":                {variant{content: "more than that"}, layer + "dir/file: size 7, then 14"},
		"mode":                {variant{entries: with(func(h []*tar.Header) { h[1].Mode = 0o600 })}, layer + "dir/file: mode 0644, then 0600"},
		"setuid":              {variant{entries: with(func(h []*tar.Header) { h[1].Mode = 0o4644 })}, layer + "dir/file: mode 0644, then 4644"},
		"owner":               {variant{entries: with(func(h []*tar.Header) { h[0].Uid, h[0].Gid = 1, 2 })}, layer + "dir/: owner 0:0, then 1:2"},
		"time":                {variant{entries: with(func(h []*tar.Header) { h[0].ModTime = time.Unix(0, 0) })}, layer + "dir/: time 2001-09-09T01:46:40Z, then 1970-01-01T00:00:00Z"},
		"link":                {variant{entries: with(func(h []*tar.Header) { h[2].Linkname = "x" })}, layer + "dir/link: link file, then x"},
		"type":                {variant{entries: with(func(h []*tar.Header) { h[2].Typeflag = tar.TypeLink })}, layer + "dir/link: type symbolic link, then hard link"},
		"attributes":          {variant{entries: with(func(h []*tar.Header) { h[1].PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b"} })}, layer + "dir/file: attributes differs"},
		"missing":             {variant{entries: func(h []*tar.Header) []*tar.Header { return h[:2] }}, layer + "dir/link: it is not there the second time"},
		"more": {variant{entries: func(h []*tar.Header) []*tar.Header {
			return append(h, &tar.Header{Name: "z", Typeflag: tar.TypeDir, Mode: 0o755})
		}}, layer + "z: it is there only the second time"},
		"order":       {variant{entries: with(func(h []*tar.Header) { h[1], h[2] = h[2], h[1] })}, layer + "the same files in another order"},
		"compression": {variant{level: gzip.HuffmanOnly}, layer + "the same files, packed or compressed in another way"},
		"layers":      {variant{extraLayer: true}, "2 layers, then 3"},
		"variable":    {variant{config: func(c *ocispecs.Image) { c.Config.Env[0] = "A=c" }}, `the configuration's config.Env[0]: "A=b", then "A=c"`},
		"user":        {variant{config: func(c *ocispecs.Image) { c.Config.User = "1" }}, `the configuration's config.User: nothing, then "1"`},
		"annotation":  {variant{annotations: map[string]string{"a": "b"}}, `the manifest's annotations: nothing, then {"a":"b"}`},
	} {
		m := memory{}
		d, err := Compare(t.Context(), m, variant{}.write(t, m), m, tt.other.write(t, m))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		if d != nil {
			got = d.String()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	m := memory{}
	ref := variant{}.write(t, m)
	if _, err := Compare(t.Context(), m, ref, memory{}, ref); err == nil {
		t.Error("compared with an image that is not there")
	}
}
