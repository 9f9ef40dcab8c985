package audit

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzELF reads foreign bytes as an ELF file.
func FuzzELF(f *testing.F) {
	for _, path := range []string{os.Args[0], "/bin/true", "/lib64/ld-linux-x86-64.so.2"} {
		if raw, err := os.ReadFile(path); err == nil {
			f.Add(raw[:min(len(raw), 8<<10)])
		}
	}
	samples, _ := filepath.Glob("testdata/elf/*")
	for _, path := range samples {
		if raw, err := os.ReadFile(path); err == nil {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := readELF(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		_ = e.String()
		if len(e.Interp) > maxName || len(e.Needed) > maxNeeded || len(e.Go) > 64 {
			t.Errorf("more was kept than may be: %+v", e)
		}
		_, _ = portable(raw), machO(raw)
	})
}

// FuzzAttributes reads foreign bytes as the notes and attributes of ELF files.
func FuzzAttributes(f *testing.F) {
	f.Add([]byte("A\x12\x00\x00\x00aeabi\x00\x01\x08\x00\x00\x00\x06\x0a"))
	f.Add([]byte("\x04\x00\x00\x00\x10\x00\x00\x00\x05\x00\x00\x00GNU\x00\x02\x80\x00\xc0\x04\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			if v, _ := armArchitecture(raw, order); v < 0 || v > 9 {
				t.Errorf("ARMv%d", v)
			}
		}
		for _, wide := range []bool{true, false} {
			if l := x86Level(raw, wide); l < 0 || l > 4 {
				t.Errorf("x86-64-v%d", l)
			}
		}
	})
}

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
		r := newRootfs()
		for _, raw := range [][]byte{one, two} {
			r.next(digest.FromBytes(raw))
			_, err := scan(t.Context(), bytes.NewReader(raw), newInspector(t.TempDir()), func(e entry) error {
				if strings.HasPrefix(e.Path, "/") || !fs.ValidPath(e.Path) && strings.Contains("/"+e.Path+"/", "/../") {
					t.Errorf("the path %q leaves the image", e.Path)
				}
				return r.apply(e)
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
		j.judgeEntrypoint()
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
