package audit_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/platforms"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/registry/registrytest"
)

// file is an entry of a layer.
type file struct {
	name string
	typ  byte
	mode int64
	data []byte
	link string
	// uid and gid are the owner.
	uid, gid int
}

func data(name string, raw []byte) file {
	return file{name: name, typ: tar.TypeReg, mode: 0o644, data: raw}
}
func text(name, s string) file { return data(name, []byte(s)) }
func bin(name string, raw []byte) file {
	return file{name: name, typ: tar.TypeReg, mode: 0o755, data: raw}
}
func script(name, s string) file { return bin(name, []byte(s)) }
func dir(name string) file       { return file{name: name + "/", typ: tar.TypeDir, mode: 0o755} }
func symlink(name, to string) file {
	return file{name: name, typ: tar.TypeSymlink, mode: 0o777, link: to}
}
func hardlink(name, to string) file {
	return file{name: name, typ: tar.TypeLink, mode: 0o755, link: to}
}
func whiteout(name string) file { return file{name: name, typ: tar.TypeReg, mode: 0o644} }

// tarOf makes an uncompressed layer.
func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: f.typ, Mode: f.mode, Size: int64(len(f.data)), Linkname: f.link, Uid: f.uid, Gid: f.gid}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, raw []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(raw, nil)
}

// layer is one layer as it is pushed.
type layer struct {
	tar       []byte
	blob      []byte // "": the tar, compressed
	mediaType string // "": OCI, gzip
	diffID    digest.Digest
	absent    bool // not pushed
	sizeLie   int64
	urls      []string
}

func files(t testing.TB, f ...file) layer { return layer{tar: tarOf(t, f...)} }

// image says what an image is like. The platform is what the index and the
// config state.
type image struct {
	platform       string
	configPlatform *ocispecs.Platform
	config         ocispecs.ImageConfig
	layers         []layer
	docker         bool
	attested       bool
	annotations    map[string]string
	edit           func(config *ocispecs.Image)
	rawConfig      []byte
	configAbsent   bool
}

// repo is a repository that a case pushes to.
type repo struct {
	t    testing.TB
	host string
	path string
}

func (r repo) name() string { return r.host + "/" + r.path }

// tampering is a registry that gives other bytes for some digests; nil means
// that they are gone.
type tampering struct {
	mu    sync.Mutex
	bytes map[string][]byte
}

func (tr *tampering) with(d digest.Digest, raw []byte) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bytes[d.String()] = raw
}

// serve starts a registry in memory.
func serve(t testing.TB) (host string, tamper *tampering) {
	t.Helper()
	tamper = &tampering{bytes: map[string][]byte{}}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tamper.mu.Lock()
		raw, ok := tamper.bytes[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
		tamper.mu.Unlock()
		if ok && raw == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if ok && r.Method == http.MethodGet {
			w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
			_, _ = w.Write(raw)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), tamper
}

func (r repo) blob(raw []byte) digest.Digest {
	d := digest.FromBytes(raw)
	location := r.send(http.MethodPost, fmt.Sprintf("http://%s/v2/%s/blobs/uploads/", r.host, r.path), "", nil, http.StatusAccepted)
	q := location.Query()
	q.Set("digest", d.String())
	location.RawQuery = q.Encode()
	r.send(http.MethodPut, location.String(), "application/octet-stream", raw, http.StatusCreated)
	return d
}

func (r repo) manifest(mediaType string, v any) ocispecs.Descriptor {
	raw, ok := v.([]byte)
	if !ok {
		raw = r.marshal(v)
	}
	d := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	r.send(http.MethodPut, fmt.Sprintf("http://%s/v2/%s/manifests/%s", r.host, r.path, d.Digest), mediaType, raw, http.StatusCreated)
	return d
}

func (r repo) tag(tag, mediaType string, raw []byte) {
	r.send(http.MethodPut, fmt.Sprintf("http://%s/v2/%s/manifests/%s", r.host, r.path, tag), mediaType, raw, http.StatusCreated)
}

func (r repo) marshal(v any) []byte {
	r.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

func (r repo) send(method, address, contentType string, body []byte, want int) *url.URL {
	r.t.Helper()
	req, err := http.NewRequest(method, address, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := registrytest.HTTP.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
		r.t.Fatalf("%s %s: %s: %s", method, address, resp.Status, said)
	}
	location, err := resp.Location()
	if err != nil {
		return nil
	}
	return location
}

const (
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// push pushes an image and returns its descriptor for an index. With an
// attestation, that is the second.
func (r repo) push(i image) []ocispecs.Descriptor {
	r.t.Helper()
	p := platforms.MustParse(i.platform)
	stated := p
	if i.configPlatform != nil {
		stated = *i.configPlatform
	}
	config := ocispecs.Image{Platform: stated, Config: i.config, RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	manifestType, configType, layerType := ocispecs.MediaTypeImageManifest, ocispecs.MediaTypeImageConfig, ocispecs.MediaTypeImageLayerGzip
	if i.docker {
		manifestType, configType, layerType = dockerManifest, dockerConfig, dockerLayer
	}
	m := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType, Layers: []ocispecs.Descriptor{}, Annotations: i.annotations}
	for _, l := range i.layers {
		if l.blob == nil {
			l.blob = gzipped(r.t, l.tar)
		}
		if l.mediaType == "" {
			l.mediaType = layerType
		}
		if l.diffID == "" {
			l.diffID = digest.FromBytes(l.tar)
		}
		desc := ocispecs.Descriptor{MediaType: l.mediaType, Digest: digest.FromBytes(l.blob), Size: int64(len(l.blob)) + l.sizeLie, URLs: l.urls}
		if !l.absent {
			r.blob(l.blob)
		}
		m.Layers = append(m.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
	}
	if i.edit != nil {
		i.edit(&config)
	}
	raw := i.rawConfig
	if raw == nil {
		raw = r.marshal(config)
	}
	m.Config = ocispecs.Descriptor{MediaType: configType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if !i.configAbsent {
		r.blob(raw)
	}
	desc := r.manifest(manifestType, m)
	desc.Platform = &p
	if !i.attested {
		return []ocispecs.Descriptor{desc}
	}
	return []ocispecs.Descriptor{desc, r.attest(desc.Digest, true)}
}

// attest pushes an SBOM and provenance about an image.
func (r repo) attest(about digest.Digest, present bool) ocispecs.Descriptor {
	r.t.Helper()
	var layers []ocispecs.Descriptor
	for _, predicate := range []string{"https://spdx.dev/Document", "https://slsa.dev/provenance/v1"} {
		raw := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"digest":{"sha256":%q}}],"predicate":{}}`, predicate, about.Encoded())
		if present {
			r.blob(raw)
		}
		layers = append(layers, ocispecs.Descriptor{MediaType: "application/vnd.in-toto+json", Digest: digest.FromBytes(raw), Size: int64(len(raw)), Annotations: map[string]string{"in-toto.io/predicate-type": predicate}})
	}
	config := fmt.Appendf(nil, `{"architecture":"unknown","os":"unknown","about":%q}`, about)
	r.blob(config)
	desc := r.manifest(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Config: ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: layers,
	})
	desc.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	desc.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about.String()}
	return desc
}

// index pushes an index and returns the reference of it.
func (r repo) index(groups ...[]ocispecs.Descriptor) string {
	return r.at(r.indexOf(ocispecs.MediaTypeImageIndex, groups...))
}

func (r repo) indexOf(mediaType string, groups ...[]ocispecs.Descriptor) ocispecs.Descriptor {
	entries := []ocispecs.Descriptor{}
	for _, g := range groups {
		entries = append(entries, g...)
	}
	return r.manifest(mediaType, ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Manifests: entries})
}

func (r repo) at(d ocispecs.Descriptor) string { return r.name() + "@" + d.Digest.String() }
