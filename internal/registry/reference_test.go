package registry

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestReferences(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, []Host{{Name: "reg.lan", PlainHTTP: true}}, Options{})
	d := digest.FromString("x").String()
	tests := []struct {
		ref, name, repository, host, scheme string
	}{
		{"alpine", "index.docker.io/library/alpine:latest", "docker.io/library/alpine", "docker.io", "https"},
		{"docker.io/acme/app:1", "index.docker.io/acme/app:1", "docker.io/acme/app", "docker.io", "https"},
		{"localhost:5000/hello:1.2", "localhost:5000/hello:1.2", "localhost:5000/hello", "localhost:5000", "http"},
		{"localhost/hello", "localhost/hello:latest", "localhost/hello", "localhost", "http"},
		{"[::1]:5000/hello:1", "[::1]:5000/hello:1", "[::1]:5000/hello", "[::1]:5000", "http"},
		{"reg.lan/a/b/c:x", "reg.lan/a/b/c:x", "reg.lan/a/b/c", "reg.lan", "http"},
		{"reg.lan:5000/a:x", "reg.lan:5000/a:x", "reg.lan:5000/a", "reg.lan:5000", "http"},
		{"ghcr.io/a/b:tag@" + d, "ghcr.io/a/b@" + d, "ghcr.io/a/b", "ghcr.io", "https"},
	}
	for _, tt := range tests {
		ref, err := c.Parse(tt.ref)
		if err != nil {
			t.Error(err)
			continue
		}
		repo, err := Repository(tt.ref)
		if err != nil {
			t.Error(err)
		}
		host, err := HostOf(tt.ref)
		if err != nil {
			t.Error(err)
		}
		if ref.Name() != tt.name || repo != tt.repository || host != tt.host || ref.Context().Scheme() != tt.scheme {
			t.Errorf("%q is %q, %q, %q, %q; want %q, %q, %q, %q", tt.ref, ref.Name(), repo, host, ref.Context().Scheme(), tt.name, tt.repository, tt.host, tt.scheme)
		}
	}
}

func TestBadReferences(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, nil, Options{})
	for _, ref := range []string{"", "-dryRun", "hello:-dryRun", "hello:.x", "Hello", "a/B:1", "hello:" + strings.Repeat("x", 129), "hello@sha256:12", "http://localhost:5000/hello", "hello world", "hello:\x1b[31m"} {
		_, err := c.Parse(ref)
		if err == nil {
			t.Errorf("%q was taken", ref)
		} else if strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("the error of %q holds a control character", ref)
		}
	}
	if _, err := Tag("hello@" + digest.FromString("x").String()); err == nil {
		t.Error("a digest was taken for a tag")
	}
	if _, err := At("hello", "sha256:12"); err == nil {
		t.Error("a broken digest was taken")
	}
}
