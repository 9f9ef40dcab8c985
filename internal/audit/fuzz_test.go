package audit

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// FuzzLayer reads foreign bytes as two layers of one image, and judges it.
func FuzzLayer(f *testing.F) {
	for _, e := range []string{"app", "usr/bin/app", ".wh.app", "a/../../b"} {
		f.Add(tarBytes(f, e), tarBytes(f, ".wh..wh..opq"))
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(z.EncodeAll(tarBytes(f, "app"), nil), []byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		r := rootfs.New()
		store, err := rootfs.OpenStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range [][]byte{one, two} {
			d := digest.FromBytes(raw)
			r.Next(d)
			if _, err := store.Learn(t.Context(), d, bytes.NewReader(raw), rootfs.NewInspector(store.Dir())); err != nil {
				t.Fatal(err)
			}
			_, err := store.Read(d, func(e rootfs.Entry) error {
				if strings.HasPrefix(e.Path, "/") || !fs.ValidPath(e.Path) && strings.Contains("/"+e.Path+"/", "/../") {
					t.Errorf("the path %q leaves the image", e.Path)
				}
				return r.Apply(e)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		compiled, err := Rules{}.compile()
		if err != nil {
			t.Fatal(err)
		}
		j := &judgment{
			node: &Node{Platform: "linux/amd64"}, config: &Config{Entrypoint: []string{"app"}, Cmd: []string{"/usr/bin/app"}, User: "app"},
			platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}, fs: r, found: &collector{rules: compiled}, programs: map[string]bool{},
		}
		var image Image
		j.survey(&image)
		j.judgePrograms()
		j.judgeBinaries(&image)
		j.judgeUser()
		j.judgeFiles(&image)
		for _, finding := range j.found.sorted() {
			if strings.ContainsAny(finding.String(), "\x1b\n\r") {
				t.Errorf("a finding holds control characters: %q", finding.String())
			}
		}
	})
}

// tarBytes is a layer of one script.
func tarBytes(t testing.TB, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := "#!/bin/sh\n"
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
