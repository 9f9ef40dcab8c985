package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// badLine stands before a registry and breaks the first uploads off, each
// after some bytes more.
type badLine struct {
	forward *httputil.ReverseProxy
	every   int64
	left    atomic.Int64 // how often it still breaks
	sent    atomic.Int64 // bytes of uploads that came by
}

var errLine = errors.New("the line broke")

func newBadLine(registry string, every int64, breaks int64) *badLine {
	l := &badLine{forward: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry}), every: every}
	l.left.Store(breaks)
	l.forward.Transport = http.DefaultTransport.(*http.Transport).Clone() // others close the default one's connections
	l.forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { reset(w) }
	return l
}

func (l *badLine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		body := &breaking{ReadCloser: r.Body, line: l, left: -1}
		if l.left.Add(-1) >= 0 {
			body.left = l.every
		}
		r.Body = body
	}
	l.forward.ServeHTTP(w, r)
}

type breaking struct {
	io.ReadCloser
	line *badLine
	left int64 // -1: to the end
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errLine
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.ReadCloser.Read(p)
	b.line.sent.Add(int64(n))
	if b.left > 0 {
		b.left -= int64(n)
	}
	return n, err
}

// An upload that breaks off again and again goes on where it was, also if that
// is more often than a request is tried; each byte goes up about once.
func TestUploadGoesOn(t *testing.T) {
	t.Parallel()
	content := make([]byte, 20<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(content) // never fails
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(content), Size: int64(len(content))}
	open := map[string]func() (io.ReadCloser, error){
		"file":   func() (io.ReadCloser, error) { return seekable{bytes.NewReader(content)}, nil },
		"stream": func() (io.ReadCloser, error) { return io.NopCloser(io.MultiReader(bytes.NewReader(content))), nil },
	}
	for name, open := range open {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := newBadLine(distribution(t, "", ""), 2<<20, 8)
			var last atomic.Pointer[Progress]
			// The registry takes a moment to notice that a line broke.
			c := newTestClient(t, nil, Options{Backoff: 100 * time.Millisecond, Progress: func(p Progress) { last.Store(&p) }})
			repo := serve(t, line) + "/resumed"
			if err := c.PutBlob(t.Context(), repo, desc, open); err != nil {
				t.Fatal(err)
			}
			raw, err := c.Blob(t.Context(), repo, desc, 32<<20)
			if err != nil || !bytes.Equal(raw, content) {
				t.Errorf("%d bytes arrived, %v", len(raw), err)
			}
			if line.left.Load() >= 0 {
				t.Error("the line did not break as often as it should")
			}
			// What is under way when a line breaks is lost.
			if sent := line.sent.Load(); sent > desc.Size*3/2 {
				t.Errorf("%d bytes came by, of a blob of %d", sent, desc.Size)
			}
			if p := last.Load(); p == nil || p.Done != desc.Size {
				t.Errorf("progress: %+v", p)
			}
		})
	}
}

type seekable struct{ *bytes.Reader }

func (seekable) Close() error { return nil }

// A token that expires meanwhile is renewed, and the upload goes on.
func TestUploadGoesOnWithNewToken(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("layer"), 1<<20)
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(content), Size: int64(len(content))}
	line := newBadLine(distribution(t, "", ""), 1<<20, 3)
	var tokens, refused atomic.Int64
	var patches sync.Once
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			_, _ = fmt.Fprintf(w, `{"token":"t%d"}`, tokens.Add(1))
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer t%d", tokens.Load()) {
			refused.Add(1)
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPatch {
			patches.Do(func() { tokens.Add(1) }) // the token expires while the first part goes up
		}
		line.ServeHTTP(w, r)
	}))
	c := newTestClient(t, nil, Options{})
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	if err := c.PutBlob(t.Context(), host+"/token-expires", desc, open); err != nil {
		t.Fatal(err)
	}
	if raw, err := c.Blob(t.Context(), host+"/token-expires", desc, 8<<20); err != nil || !bytes.Equal(raw, content) {
		t.Errorf("%d bytes arrived, %v", len(raw), err)
	}
	if refused.Load() < 2 || line.left.Load() >= 0 {
		t.Errorf("no token expired in the upload (%d refusals)", refused.Load())
	}
	if sent := line.sent.Load(); sent > desc.Size*3/2 {
		t.Errorf("%d bytes came by, of a blob of %d", sent, desc.Size)
	}
}

// A registry that knows the place but takes no parts is sent the whole again.
func TestUploadTakesNoParts(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("layer"), 1<<20)
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(content), Size: int64(len(content))}
	line := newBadLine(distribution(t, "", ""), 1<<20, 2)
	repo := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && r.Header.Get("Content-Range") != "" {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		line.ServeHTTP(w, r)
	})) + "/whole"
	c := newTestClient(t, nil, Options{})
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	if err := c.PutBlob(t.Context(), repo, desc, open); err != nil {
		t.Fatal(err)
	}
	if raw, err := c.Blob(t.Context(), repo, desc, 8<<20); err != nil || !bytes.Equal(raw, content) {
		t.Errorf("%d bytes arrived, %v", len(raw), err)
	}
}

// A registry that keeps no place is sent the whole again.
func TestUploadWithoutPlace(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("layer"), 1<<20)
	line := newBadLine(serve(t, memory()), 2<<20, 2)
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromBytes(content), Size: int64(len(content))}
	c := newTestClient(t, nil, Options{})
	repo := serve(t, line) + "/again"
	err := c.PutBlob(t.Context(), repo, desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := c.Blob(t.Context(), repo, desc, 8<<20); err != nil || !bytes.Equal(raw, content) {
		t.Errorf("%d bytes arrived, %v", len(raw), err)
	}
}
