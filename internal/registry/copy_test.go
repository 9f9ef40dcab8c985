package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// upload brings a blob into a repository by hand.
func upload(t *testing.T, c *Client, repo string, content []byte) ocispecs.Descriptor {
	t.Helper()
	d := digest.FromBytes(content)
	host, path, _ := strings.Cut(repo, "/")
	c.hosts.note(host)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://%s/v2/%s/blobs/uploads/?digest=%s", host, path, d), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("uploading: %s", resp.Status)
	}
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(content))}
}

func TestCopyBlob(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, nil, Options{})
	from, to := serve(t, memory())+"/from", serve(t, memory())+"/to"
	content := bytes.Repeat([]byte("layer"), 100_000)
	desc := upload(t, c, from, content)
	if err := c.CopyBlob(t.Context(), from, to, desc); err != nil {
		t.Fatal(err)
	}
	body, err := c.OpenBlob(t.Context(), to, desc.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes arrived, %v", len(got), err)
	}
	gone := ocispecs.Descriptor{Digest: digest.FromString("gone"), Size: 4}
	if err := c.CopyBlob(t.Context(), from, to, gone); !IsNotFound(err) || !strings.Contains(err.Error(), from) {
		t.Errorf("a blob that is gone: %v", err)
	}
}

// TestMount has a registry that mounts, and counts what is sent.
func TestMount(t *testing.T) {
	t.Parallel()
	var mounts, sent atomic.Int64
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost && r.URL.Query().Get("from") == "from":
			mounts.Add(1)
			w.WriteHeader(http.StatusCreated)
		default:
			sent.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	c := newTestClient(t, nil, Options{})
	desc := ocispecs.Descriptor{Digest: digest.FromString("x"), Size: 1 << 30}
	if err := c.CopyBlob(t.Context(), host+"/from", host+"/to", desc); err != nil {
		t.Fatal(err)
	}
	if mounts.Load() != 1 || sent.Load() != 0 {
		t.Errorf("%d mounts, %d other requests", mounts.Load(), sent.Load())
	}
}
