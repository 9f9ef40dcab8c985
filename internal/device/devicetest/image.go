// Package devicetest gives tests real devices: SSH servers, container engines
// and images for them.
package devicetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var (
	programs   sync.Mutex
	programDir = map[string][]byte{}
)

// Program compiles the probe for a platform: see testdata/probe.
func Program(t testing.TB, p ocispecs.Platform) []byte {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	key := p.Architecture + p.Variant
	if b, ok := programDir[key]; ok {
		return b
	}
	_, here, _, _ := runtime.Caller(0)
	out := filepath.Join(t.TempDir(), "probe")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = filepath.Join(filepath.Dir(here), "testdata", "probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOOS=linux", "GOARCH="+p.Architecture)
	if p.Architecture == "arm" {
		cmd.Env = append(cmd.Env, "GOARM="+strings.TrimPrefix(p.Variant, "v"))
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling the probe for %s/%s: %v\n%s", p.Architecture, p.Variant, err, said)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	programDir[key] = b
	return b
}

// Image is the config and the only layer of an image whose entrypoint is
// /probe, with the bytes given.
func Image(t testing.TB, p ocispecs.Platform, program []byte) (ocispecs.Image, []byte) {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	write := func(h tar.Header, body []byte) {
		h.Size, h.ModTime = int64(len(body)), time.Unix(1700000000, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	write(tar.Header{Name: "probe", Mode: 0o755, Typeflag: tar.TypeReg}, program)
	write(tar.Header{Name: "etc/", Mode: 0o755, Typeflag: tar.TypeDir}, nil)
	write(tar.Header{Name: "etc/probe.conf", Mode: 0o644, Typeflag: tar.TypeReg}, []byte("here\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	created := time.Unix(1700000000, 0).UTC()
	return ocispecs.Image{
		Created:  &created,
		Platform: p,
		Config:   ocispecs.ImageConfig{Entrypoint: []string{"/probe"}, Cmd: []string{"version"}, Env: []string{"PATH=/bin"}},
		RootFS:   ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain.Bytes())}},
	}, packed.Bytes()
}
