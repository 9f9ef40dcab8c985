package elftest_test

import (
	"bytes"
	"debug/elf"
	"testing"

	"github.com/archmage-build/archmage/internal/rootfs/elftest"
)

// TestMake reads what is made with the standard library.
func TestMake(t *testing.T) {
	t.Parallel()
	for arch, loader := range elftest.Loaders {
		raw := elftest.Make(elftest.File{Arch: arch, Interp: loader, Needed: []string{"libc.so.6", "libm.so.6"}, RunPath: "$ORIGIN/lib"})
		f, err := elf.NewFile(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		interp := make([]byte, len(loader))
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				if _, err := p.ReadAt(interp, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		if string(interp) != loader {
			t.Errorf("%s: the loader is %q", arch, interp)
		}
	}
}
