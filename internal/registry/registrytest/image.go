// Package registrytest gives tests a registry in memory and images in it, made
// the way BuildKit makes them.
package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Serve starts an in-memory registry on loopback and returns its host. Each
// wrap may stand before it, the last one outermost.
func Serve(t testing.TB, wrap ...func(http.Handler) http.Handler) string {
	t.Helper()
	handler := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	for _, w := range wrap {
		handler = w(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Image is an image that was pushed.
type Image struct {
	// Manifest names the image's manifest.
	Manifest ocispecs.Descriptor
	// Attestation names its attestation manifest, if it has one.
	Attestation ocispecs.Descriptor
	// Pushed names what BuildKit reports: the manifest, or the index of one
	// platform that holds it and its attestation.
	Pushed ocispecs.Descriptor
}

// Spec says what an image is like.
type Spec struct {
	// Config is the image config. Its platform may be anything.
	Config ocispecs.Image
	// Layers are the bytes of its layers.
	Layers [][]byte
	// Annotations are the manifest's.
	Annotations map[string]string
	// Attested adds an SBOM and provenance, as BuildKit does.
	Attested bool
	// Docker uses Docker's media types.
	Docker bool
}

// Push writes an image into a repository, "127.0.0.1:5000/hello".
func Push(t testing.TB, repo string, spec Spec) Image {
	t.Helper()
	manifestType, configType, layerType := ocispecs.MediaTypeImageManifest, ocispecs.MediaTypeImageConfig, ocispecs.MediaTypeImageLayerGzip
	if spec.Docker {
		manifestType = "application/vnd.docker.distribution.manifest.v2+json"
		configType = "application/vnd.docker.container.image.v1+json"
		layerType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	var image Image
	image.Manifest = pushManifest(t, repo, manifestType, configType, marshal(t, spec.Config), spec.Annotations, layers(t, repo, layerType, spec.Layers))
	image.Pushed = image.Manifest
	if !spec.Attested {
		return image
	}
	sbom := blob(t, repo, "application/vnd.in-toto+json", fmt.Appendf(nil, `{"predicateType":"https://spdx.dev/Document","subject":%q}`, image.Manifest.Digest))
	sbom.Annotations = map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}
	provenance := blob(t, repo, "application/vnd.in-toto+json", fmt.Appendf(nil, `{"predicateType":"https://slsa.dev/provenance/v1","subject":%q}`, image.Manifest.Digest))
	provenance.Annotations = map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
	config := fmt.Appendf(nil, `{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[%q,%q]}}`, sbom.Digest, provenance.Digest)
	image.Attestation = pushManifest(t, repo, ocispecs.MediaTypeImageManifest, ocispecs.MediaTypeImageConfig, config, nil, []ocispecs.Descriptor{sbom, provenance})
	image.Attestation.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	image.Attestation.Annotations = map[string]string{
		"vnd.docker.reference.digest": image.Manifest.Digest.String(),
		"vnd.docker.reference.type":   "attestation-manifest",
	}
	inner := image.Manifest
	inner.Platform = &ocispecs.Platform{OS: spec.Config.OS, Architecture: spec.Config.Architecture, Variant: spec.Config.Variant}
	image.Pushed = PushIndex(t, repo, ocispecs.Index{Manifests: []ocispecs.Descriptor{inner, image.Attestation}})
	return image
}

// PushIndex writes an OCI index by its digest.
func PushIndex(t testing.TB, repo string, index ocispecs.Index) ocispecs.Descriptor {
	t.Helper()
	index.Versioned = specs.Versioned{SchemaVersion: 2}
	if index.MediaType == "" {
		index.MediaType = ocispecs.MediaTypeImageIndex
	}
	raw := marshal(t, index)
	return Put(t, repo, "", index.MediaType, raw)
}

// PushArtifact writes an OCI manifest of any config and layer type.
func PushArtifact(t testing.TB, repo, configType string, layerTypes ...string) ocispecs.Descriptor {
	t.Helper()
	var blobs []ocispecs.Descriptor
	for _, mediaType := range layerTypes {
		blobs = append(blobs, blob(t, repo, mediaType, []byte("bytes of "+mediaType)))
	}
	return pushManifest(t, repo, ocispecs.MediaTypeImageManifest, configType, []byte("{}"), nil, blobs)
}

// Put writes the bytes of a manifest to a tag, or by digest where that is "".
func Put(t testing.TB, repo, tag, mediaType string, raw []byte) ocispecs.Descriptor {
	t.Helper()
	desc := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if tag == "" {
		tag = desc.Digest.String()
	}
	host, path, _ := strings.Cut(repo, "/")
	send(t, http.MethodPut, fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, path, tag), mediaType, raw, http.StatusCreated)
	return desc
}

func pushManifest(t testing.TB, repo, mediaType, configType string, config []byte, annotations map[string]string, layers []ocispecs.Descriptor) ocispecs.Descriptor {
	t.Helper()
	if layers == nil {
		layers = []ocispecs.Descriptor{}
	}
	return Put(t, repo, "", mediaType, marshal(t, ocispecs.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   mediaType,
		Config:      blob(t, repo, configType, config),
		Layers:      layers,
		Annotations: annotations,
	}))
}

func layers(t testing.TB, repo, mediaType string, contents [][]byte) []ocispecs.Descriptor {
	t.Helper()
	var descs []ocispecs.Descriptor
	for _, content := range contents {
		descs = append(descs, blob(t, repo, mediaType, content))
	}
	return descs
}

func blob(t testing.TB, repo, mediaType string, content []byte) ocispecs.Descriptor {
	t.Helper()
	desc := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	host, path, _ := strings.Cut(repo, "/")
	location := send(t, http.MethodPost, fmt.Sprintf("http://%s/v2/%s/blobs/uploads/", host, path), "", nil, http.StatusAccepted)
	if location == nil {
		t.Fatalf("starting an upload to %q: the registry names no place for it", repo)
	}
	query := location.Query()
	query.Set("digest", desc.Digest.String())
	location.RawQuery = query.Encode()
	send(t, http.MethodPut, location.String(), "application/octet-stream", content, http.StatusCreated)
	return desc
}

// HTTP is for plain requests in tests that run beside others: closing any
// httptest server breaks connections of the default transport.
var HTTP = &http.Client{Transport: ownTransport()}

func ownTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	return t.Clone()
}

// send makes a request and returns the Location of its answer, nil if it has
// none.
func send(t testing.TB, method, address, contentType string, body []byte, want int) *url.URL {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
		t.Fatalf("%s %s: %s: %s", method, address, resp.Status, said)
	}
	location, err := resp.Location()
	if err != nil {
		return nil
	}
	return location
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
