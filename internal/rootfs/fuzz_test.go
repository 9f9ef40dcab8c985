package rootfs

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
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
