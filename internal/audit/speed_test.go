package audit_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// large pushes 8 platforms of 5 layers of size bytes and returns the index,
// in a registry that keeps its blobs on disk.
func large(b testing.TB, size int) string {
	b.Helper()
	dir := b.TempDir()
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(dir)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Its own handler reads a whole blob to answer how large it is.
		if _, hash, ok := strings.Cut(r.URL.Path, "/blobs/sha256:"); ok && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			w.Header().Set("Docker-Content-Digest", "sha256:"+hash)
			http.ServeFile(w, r, filepath.Join(dir, "sha256", filepath.Base(hash)))
			return
		}
		inner.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	r := repo{t: b, host: strings.TrimPrefix(server.URL, "http://"), path: "large"}
	var entries [][]ocispecs.Descriptor
	for i, p := range []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/s390x", "linux/riscv64"} {
		img := image{platform: p}
		for j := range 5 {
			content := noise(size)
			copy(content, fmt.Sprintf("%d of %d", j, i))
			img.layers = append(img.layers, files(b, data(fmt.Sprintf("srv/%d", j), content)))
		}
		entries = append(entries, r.push(img))
	}
	return r.index(entries...)
}

// BenchmarkAudit audits an image of 8 platforms × 5 layers × 20 MB in a
// registry on loopback, cold and warm, and compares both with `crane validate
// --remote` of the same image.
func BenchmarkAudit(b *testing.B) {
	ref := large(b, 20<<20)
	client := newClient(b)
	run := func(b *testing.B, cache string) {
		if _, err := audit.Audit(b.Context(), audit.Registry(client), ref, audit.Options{CacheDir: cache}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("cold", func(b *testing.B) {
		peak := watchMemory(b)
		for b.Loop() {
			run(b, b.TempDir())
		}
		b.ReportMetric(float64(peak()>>20), "peak-MB")
	})
	b.Run("warm", func(b *testing.B) {
		cache := b.TempDir()
		run(b, cache)
		for b.Loop() {
			run(b, cache)
		}
	})
	b.Run("against crane", func(b *testing.B) {
		crane := embeddedtest.Peer(b, "crane")
		cache := b.TempDir()
		run(b, cache)
		var cold, warm, theirs time.Duration
		timed := func(sum *time.Duration, f func()) {
			start := time.Now()
			f()
			*sum += time.Since(start)
		}
		for b.Loop() { // in turn, so that a busy machine hurts all alike
			timed(&cold, func() { run(b, b.TempDir()) })
			timed(&warm, func() { run(b, cache) })
			timed(&theirs, func() {
				said, err := exec.CommandContext(b.Context(), crane, "validate", "--remote", ref).CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %s", err, said)
				}
			})
		}
		b.ReportMetric(theirs.Seconds()/float64(b.N), "crane-s")
		for _, of := range []struct {
			unit string
			took time.Duration
			most float64
		}{{"cold-ratio", cold, 0.7}, {"warm-ratio", warm, 0.05}} {
			ratio := of.took.Seconds() / theirs.Seconds()
			b.ReportMetric(ratio, of.unit)
			if ratio > of.most {
				b.Errorf("%s is %.3f, more than %.2f", of.unit, ratio, of.most)
			}
		}
	})
}

// watchMemory samples what the process holds, the registry in it included.
func watchMemory(b testing.TB) (peak func() uint64) {
	b.Helper()
	runtime.GC()
	var most atomic.Uint64
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				if held := m.HeapInuse + m.StackInuse; held > most.Load() {
					most.Store(held)
				}
			}
		}
	}()
	return func() uint64 {
		close(done)
		<-finished
		return most.Load()
	}
}
