package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// scanned reads a layer and returns what was learnt and the number of entries.
func scanned(t testing.TB, body io.Reader) (Facts, int, error) {
	t.Helper()
	n := 0
	inspect := NewInspector(t.TempDir())
	inspect.free, inspect.entries = 100<<20, 50_000
	f, err := scan(t.Context(), body, inspect, func(Entry) error { n++; return nil })
	return f, n, err
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// piped writes a layer while it is read, so that it is never in memory.
func piped(write func(w io.Writer) error) io.Reader {
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }()
	return r
}

// TestBombs feeds layers that would fill memory or time. The memory they take
// is measured.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("it unpacks hundreds of megabytes")
	}
	file := func(w io.Writer, name string, size int64, body io.Reader) error {
		tw := tar.NewWriter(w)
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: size}); err != nil {
			return err
		}
		if _, err := io.CopyN(tw, body, size); err != nil {
			return err
		}
		return tw.Close()
	}
	tests := []struct {
		name, says string
		write      func(w io.Writer) error
	}{
		{"gzip", "times its size", func(w io.Writer) error {
			z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
			if err != nil {
				return err
			}
			return errors.Join(file(z, "zeros", 150<<20, zeros{}), z.Close())
		}},
		{"zstd", "times its size", func(w io.Writer) error {
			z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
			if err != nil {
				return err
			}
			return errors.Join(file(z, "zeros", 150<<20, zeros{}), z.Close())
		}},
		{"entries", "entries", func(w io.Writer) error {
			z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
			if err != nil {
				return err
			}
			tw := tar.NewWriter(z)
			for i := range 50_010 {
				if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("d/%d", i), Typeflag: tar.TypeReg}); err != nil {
					return err
				}
			}
			return errors.Join(tw.Close(), z.Close())
		}},
		{"path", "a path of more than", func(w io.Writer) error {
			return file(w, strings.Repeat("deep/", 1000)+"x", 0, zeros{})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			body := piped(tt.write)
			f, _, err := scanned(t, body)
			_ = body.(io.Closer).Close()
			if err != nil || !strings.Contains(f.Limit, tt.says) {
				t.Errorf("limit %q, error %v, want %q", f.Limit, err, tt.says)
			}
			runtime.ReadMemStats(&after)
			if held := int64(after.HeapSys) - int64(before.HeapSys); held > 64<<20 {
				t.Errorf("it took %d MB", held>>20)
			}
		})
	}
}

// TestWindow refuses a frame that wants more memory than an honest one.
func TestWindow(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(512<<20))
	if err != nil {
		t.Fatal(err)
	}
	// A frame whose size is not stated has its window in the header.
	if _, err := z.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := z.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f, _, err := scanned(t, &b)
	if err != nil || !strings.Contains(f.Broken, "window") {
		t.Errorf("broken %q, error %v", f.Broken, err)
	}
}

// TestManyFiles merges more files than an image has, and a tree deeper than a
// path, in bounded memory.
func TestManyFiles(t *testing.T) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := New()
	r.Next(digest.FromString("x"))
	var err error
	for i := 0; err == nil && i < 2*maxFiles; i++ {
		err = r.Apply(Entry{Path: fmt.Sprintf("d%d/f%d", i%1000, i), Kind: KindFile})
	}
	if !errors.Is(err, ErrTooManyFiles) {
		t.Errorf("error %v", err)
	}
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapInuse) - int64(before.HeapInuse); held > 150<<20 {
		t.Errorf("%d files take %d MB", maxFiles, held>>20)
	}
	runtime.KeepAlive(r)
}

func TestMazes(t *testing.T) {
	t.Parallel()
	r := New()
	r.Next(digest.FromString("x"))
	add := func(e Entry) {
		t.Helper()
		if err := r.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	add(Entry{Path: "self", Kind: KindSymlink, Link: "self"})
	add(Entry{Path: "a", Kind: KindSymlink, Link: "b/x"})
	add(Entry{Path: "b", Kind: KindSymlink, Link: "a/x"})
	add(Entry{Path: "up", Kind: KindSymlink, Link: "../../../../.."})
	add(Entry{Path: "etc/passwd", Kind: KindFile})
	add(Entry{Path: "a/file", Kind: KindFile})
	add(Entry{Path: "hard", Kind: KindHardlink, Link: "hard"})
	add(Entry{Path: "hard2", Kind: KindHardlink, Link: "etc"})
	// Links that grow: each level doubles the path that is still to be walked.
	add(Entry{Path: "l0", Kind: KindSymlink, Link: "etc/.."})
	for i := 1; i < 60; i++ {
		add(Entry{Path: fmt.Sprintf("l%d", i), Kind: KindSymlink, Link: fmt.Sprintf("l%d/l%d", i-1, i-1)})
	}
	for _, name := range []string{"self", "self/x", "a", "b/c", "l59", "hard", "hard2"} {
		if n := r.Lookup(name); n != nil {
			t.Errorf("%q leads to %s", name, n)
		}
	}
	if n, at := r.Resolve("up/etc/passwd", true); n == nil || at != "/etc/passwd" {
		t.Errorf("above the root is %q, want the root", at)
	}
	// Deeper by links than any path is long.
	deep := strings.Repeat("d/", 1000)
	add(Entry{Path: strings.TrimSuffix(deep, "/"), Kind: KindDir})
	for i := range 10 {
		add(Entry{Path: fmt.Sprintf("jump%d", i), Kind: KindSymlink, Link: deep})
		deep = fmt.Sprintf("jump%d/", i) + strings.Repeat("d/", 1000)
		add(Entry{Path: deep + "f", Kind: KindFile})
	}
	deepest := 0
	r.Each(func(name string, _ *Inode) { deepest = max(deepest, strings.Count(name, "/")) })
	if deepest > maxPath {
		t.Errorf("the tree is %d deep", deepest)
	}
}

// TestSourceFails tells a source that breaks from a layer that is broken.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the cable was pulled")
	_, _, err := scanned(t, io.MultiReader(bytes.NewReader(make([]byte, 2000)), readerFunc(func([]byte) (int, error) { return 0, broken })))
	if !errors.Is(err, ErrSource) || !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scan(ctx, zeros{}, NewInspector(t.TempDir()), func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	full := errors.New("the disk is full")
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := scan(t.Context(), &b, NewInspector(t.TempDir()), func(Entry) error { return full }); !errors.Is(err, full) || errors.Is(err, ErrSource) {
		t.Errorf("error %v", err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestUnverified forgets a layer that was given up: its bytes may not be those
// of its digest.
func TestUnverified(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, name := range []string{"a", strings.Repeat("deep/", 1000) + "x"} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
	}
	d := digest.FromBytes(b.Bytes())
	if _, err := s.Learn(t.Context(), d, &b, NewInspector(s.dir)); err != nil {
		t.Fatal(err)
	}
	n := 0
	f, err := s.Read(d, func(Entry) error { n++; return nil })
	if err != nil || f.Limit == "" || n != 1 {
		t.Errorf("in this run: %+v, %d entries, %v", f, n, err)
	}
	if s.Has(d) {
		t.Error("it counts as known")
	}
	s.Close()
	if left, _ := os.ReadDir(s.dir); len(left) > 0 {
		t.Errorf("the cache holds %q", left)
	}
}

// TestPrune keeps what was used last.
func TestPrune(t *testing.T) {
	t.Parallel()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var digests []digest.Digest
	for i := range 5 {
		d := digest.FromString(fmt.Sprint(i))
		digests = append(digests, d)
		if _, err := s.Learn(t.Context(), d, bytes.NewReader(nil), NewInspector(s.dir)); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Has(digests[0]) { // now the newest
		t.Fatal("what was learnt is not there")
	}
	var size int64
	f, err := s.Read(digests[1], func(Entry) error { return nil })
	if err != nil || f.Compression != "none" {
		t.Fatalf("%+v, %v", f, err)
	}
	for _, d := range digests {
		info, err := statFile(s.path(d))
		if err != nil {
			t.Fatal(err)
		}
		size += info
	}
	s.prune(size-1, size/2)
	if !s.Has(digests[0]) || s.Has(digests[1]) {
		t.Error("the wrong ones were removed")
	}
}

func statFile(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
