package registry

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func memory() http.Handler { return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))) }

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func newTestClient(t *testing.T, hosts []Host, opts Options) *Client {
	t.Helper()
	if opts.Backoff == 0 {
		opts.Backoff = time.Millisecond
	}
	c, err := New(hosts, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dialTo makes a client reach address whatever host it asks for, so that a
// test can have a host that is not loopback by its name.
func dialTo(c *Client, address string) {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	c.hosts.other.DialContext = dial
	c.hosts.other.Proxy = nil
	for _, h := range c.hosts.byName {
		h.transport.DialContext = dial
		h.transport.Proxy = nil
	}
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return -1
}

func answer(status int, contentType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func basicAuth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// TestPreflight asks what Ping and CheckPush say of all that may listen at an
// address.
func TestPreflight(t *testing.T) {
	t.Parallel()
	const refusing = "127.0.0.1:1" // a port that no test is given, unlike one that was closed

	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { garbage.Close() })
	go func() {
		for {
			conn, err := garbage.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n")
			conn.Close()
		}
	}()

	tests := []struct {
		name    string
		address string
		host    string // what it is called, if not by its address
		kind    Kind
		says    []string
	}{
		{"well", serve(t, memory()), "", -1, nil},
		{"refused", refusing, "", Unreachable, []string{"refuses the connection", "embedded = true"}},
		{"refused elsewhere", refusing, "reg.test:5000", Unreachable, []string{`"reg.test:5000"`, "is it running?"}},
		{"web page", serve(t, answer(200, "text/html; charset=utf-8", "<html>")), "", NotRegistry, []string{"is no registry", "web page"}},
		{"web server", serve(t, http.NotFoundHandler()), "", NotRegistry, []string{"is no registry", "404"}},
		{"ssh server", garbage.Addr().String(), "", NotRegistry, []string{"is no registry"}},
		{"wants credentials", serve(t, basicAuth(memory())), "", Unauthorized, []string{"wants credentials", "docker login"}},
		{"forbidden", serve(t, answer(403, "application/json", `{"errors":[{"code":"DENIED","message":"no \u001b[31mway"}]}`)), "", Denied, []string{"denies", `no \x1b[31mway`}},
		{"down", serve(t, answer(503, "text/plain", "later")), "", Unavailable, []string{"503", "log"}},
		{"plain", serve(t, memory()), "reg.test:5000", Scheme, []string{"plain HTTP", "insecure = true"}},
		{"private network", serve(t, memory()), "10.1.2.3:5000", Scheme, []string{"plain HTTP", "insecure = true"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newTestClient(t, nil, Options{})
			host := tt.host
			if host == "" {
				host = tt.address
			} else {
				dialTo(c, tt.address)
			}
			start := time.Now()
			err := c.Ping(t.Context(), host)
			if err == nil {
				err = c.CheckPush(t.Context(), host+"/hello:1")
			}
			if time.Since(start) > 5*time.Second {
				t.Errorf("the answer took %v", time.Since(start))
			}
			if got := kindOf(err); got != tt.kind || tt.kind == -1 && err != nil {
				t.Fatalf("kind %d (%v), want %d", got, err, tt.kind)
			}
			for _, say := range tt.says {
				if !strings.Contains(told(err), say) {
					t.Errorf("error %q does not say %q", err, say)
				}
			}
		})
	}
}

func TestUnknownHost(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, nil, Options{})
	c.hosts.other.Proxy = nil
	c.hosts.other.DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}}
	}
	err := c.Ping(t.Context(), "nowhere.invalid")
	if kindOf(err) != UnknownHost || !strings.Contains(err.Error(), `"nowhere.invalid" does not resolve`) {
		t.Errorf("error %v", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(memory())
	t.Cleanup(server.Close)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	address := server.Listener.Addr().String()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	const host = "example.com:5000" // httptest's certificate is for it
	tests := []struct {
		name     string
		declared []Host
		kind     Kind
	}{
		{"not declared", nil, Untrusted},
		{"other host's CA", []Host{{Name: "other.com", CAFile: ca}}, Untrusted},
		{"own CA", []Host{{Name: host, CAFile: ca}}, -1},
		{"own CA, other port", []Host{{Name: "example.com", CAFile: ca}}, -1},
		{"not verified", []Host{{Name: host, SkipVerify: true}}, -1},
		{"plain allowed, TLS spoken, not trusted", []Host{{Name: host, PlainHTTP: true}}, Untrusted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newTestClient(t, tt.declared, Options{})
			dialTo(c, address)
			err := c.CheckPush(t.Context(), host+"/hello")
			if kindOf(err) != tt.kind || tt.kind == -1 && err != nil {
				t.Errorf("kind %d (%v), want %d", kindOf(err), err, tt.kind)
			}
			if tt.kind == Untrusted && !strings.Contains(told(err), "ca = ") {
				t.Errorf("error %q does not say what to do", err)
			}
		})
	}

	t.Run("no such CA", func(t *testing.T) {
		t.Parallel()
		if _, err := New([]Host{{Name: host, CAFile: ca + ".none"}}, Options{}); err == nil || !strings.Contains(err.Error(), "ca.pem.none") {
			t.Errorf("error %v does not name the file", err)
		}
	})
}

func TestPlainHTTPDeclared(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, []Host{{Name: "reg.test:5000", PlainHTTP: true}}, Options{})
	dialTo(c, serve(t, memory()))
	if err := c.CheckPush(t.Context(), "reg.test:5000/hello"); err != nil {
		t.Error(err)
	}
}

// put writes a small manifest and returns its reference by digest.
func put(t *testing.T, c *Client, repo, tag string) (ocispecs.Descriptor, []byte) {
	t.Helper()
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"tag":%q}}`, ocispecs.MediaTypeImageIndex, tag)
	if err := c.PutManifest(t.Context(), repo+":"+tag, ocispecs.MediaTypeImageIndex, raw); err != nil {
		t.Fatal(err)
	}
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw
}

func TestManifests(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, nil, Options{})
	repo := serve(t, memory()) + "/a/b"
	want, raw := put(t, c, repo, "1")
	for _, ref := range []string{repo + ":1", repo + "@" + want.Digest.String(), repo + ":other@" + want.Digest.String()} {
		got, bytesGot, err := c.Manifest(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest != want.Digest || got.Size != want.Size || got.MediaType != want.MediaType || !bytes.Equal(raw, bytesGot) {
			t.Errorf("%s: got %+v %q", ref, got, bytesGot)
		}
		head, err := c.Head(t.Context(), ref)
		if err != nil || head.Digest != want.Digest || head.Size != want.Size {
			t.Errorf("%s: head %+v, %v", ref, head, err)
		}
	}
	_, err := c.Head(t.Context(), repo+":2")
	if !IsNotFound(err) || !strings.Contains(err.Error(), repo+":2") {
		t.Errorf("error %v of a tag that is not there", err)
	}
	_, _, err = c.Manifest(t.Context(), repo+"@"+digest.FromString("x").String())
	if !IsNotFound(err) {
		t.Errorf("error %v of a digest that is not there", err)
	}
}

// TestHeadFallback has a registry whose HEAD lacks the digest.
func TestHeadFallback(t *testing.T) {
	t.Parallel()
	inner := memory()
	c := newTestClient(t, nil, Options{})
	repo := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusOK)
			return
		}
		inner.ServeHTTP(w, r)
	})) + "/hello"
	want, _ := put(t, c, repo, "1")
	got, err := c.Head(t.Context(), repo+":1")
	if err != nil || got.Digest != want.Digest {
		t.Errorf("head %+v, %v", got, err)
	}
}

// TestForeignBytes has a registry that gives other bytes, or too many.
func TestForeignBytes(t *testing.T) {
	t.Parallel()
	var body atomic.Value
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
		_, _ = io.WriteString(w, body.Load().(string))
	}))
	c := newTestClient(t, nil, Options{})
	body.Store("{}")
	d := digest.FromString("something else")
	if _, _, err := c.Manifest(t.Context(), host+"/a@"+d.String()); err == nil || !strings.Contains(err.Error(), d.String()) {
		t.Errorf("a manifest that is not its digest: %v", err)
	}
	desc := ocispecs.Descriptor{Digest: d, Size: int64(len("something else"))}
	_, err := c.Blob(t.Context(), host+"/a", desc, 1<<20)
	if kindOf(err) != Corrupt {
		t.Errorf("a blob that is not its digest: %v", err)
	}
	body.Store("something else, and more")
	_, err = c.Blob(t.Context(), host+"/a", desc, 1<<20)
	if kindOf(err) != Corrupt {
		t.Errorf("a blob that is too long: %v", err)
	}
	body.Store("something else")
	if raw, err := c.Blob(t.Context(), host+"/a", desc, 1<<20); err != nil || string(raw) != "something else" {
		t.Errorf("a good blob: %q, %v", raw, err)
	}
	if _, err := c.Blob(t.Context(), host+"/a", desc, 3); err == nil {
		t.Error("a blob above the limit was read")
	}
	body.Store(strings.Repeat(" ", ManifestLimit+1))
	if _, _, err := c.Manifest(t.Context(), host+"/a:1"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a manifest that is too large: %v", err)
	}
	body.Store(strings.Repeat(" ", ManifestLimit))
	if _, raw, err := c.Manifest(t.Context(), host+"/a:1"); err != nil || len(raw) != ManifestLimit {
		t.Errorf("a manifest of the largest size: %d bytes, %v", len(raw), err)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{}, 1)
	host := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case reached <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	}))
	c := newTestClient(t, nil, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-reached
		cancel(errors.New("interrupted")) // as signal.NotifyContext does
	}()
	start := time.Now()
	_, err := c.Head(ctx, host+"/a:1")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled in it", err)
	}
	if kindOf(err) != -1 {
		t.Errorf("a cancelled request is blamed on the registry: %v", err)
	}
	if time.Since(start) > 5*time.Second {
		t.Errorf("it took %v", time.Since(start))
	}
}

// told is what a person reads: the error and what to do next.
func told(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return err.Error() + "; " + e.Remedy()
	}
	return err.Error()
}
