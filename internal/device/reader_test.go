package device

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestReaderOnlyReads(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]string{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.Method] = r.Host
		mu.Unlock()
		w.Header().Set("Docker-Content-Digest", "sha256:1")
		_, _ = io.WriteString(w, "the registry")
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	through := func(server *httptest.Server) *http.Client {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); serveReader(l, server.Listener.Addr().String()) }()
		t.Cleanup(func() { _ = l.Close(); <-done })
		return &http.Client{Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
			},
		}}
	}
	client := through(plain)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "MOVE", "OPTIONS", "CONNECT"} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost:5000/v2/app/manifests/1", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		mu.Lock()
		got := seen[method]
		mu.Unlock()
		reads := method == "GET" || method == "HEAD"
		if (resp.StatusCode == http.StatusOK) != reads || (got != "") != reads {
			t.Errorf("%s: %s, seen %q: %s", method, resp.Status, got, body)
		}
	}
	if seen["GET"] != "localhost:5000" {
		t.Errorf("the registry is asked as %q; want the name that the client knows", seen["GET"])
	}
	resp, err := through(secure).Get("https://localhost:5000/v2/")
	if err != nil {
		t.Fatalf("a registry with TLS: %v", err)
	}
	_ = resp.Body.Close()
}
