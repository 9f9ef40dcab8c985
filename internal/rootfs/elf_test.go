package rootfs

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/archmage-build/archmage/internal/rootfs/elftest"
)

// TestDynamic reads what a loader reads.
func TestDynamic(t *testing.T) {
	t.Parallel()
	for arch, loader := range elftest.Loaders {
		raw := elftest.Make(elftest.File{
			Arch: arch, Interp: loader, Needed: []string{"libc.so.6", "libx.so"}, SoName: "me.so.1", RPath: "/r", RunPath: "$ORIGIN",
			Wants: map[string][]string{"libc.so.6": {"GLIBC_2.17", "GLIBC_2.38"}, "libx.so": {"X_1"}}, Defines: []string{"ME_1", "ME_2"},
		})
		e, err := readELF(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		want := &ELF{
			Bits: e.Bits, Big: e.Big, Machine: e.Machine, Type: e.Type, Flags: e.Flags, Dynamic: true, PageSize: 64 << 10,
			Interp: loader, Needed: []string{"libc.so.6", "libx.so"}, SoName: "me.so.1", RPath: "/r", RunPath: "$ORIGIN", Defines: []string{"ME_1", "ME_2"},
			Wants: []Version{
				{Library: "libc.so.6", Name: "GLIBC_2.17", Symbol: "symbol_of_GLIBC_2.17"}, {Library: "libc.so.6", Name: "GLIBC_2.38", Symbol: "symbol_of_GLIBC_2.38"},
				{Library: "libx.so", Name: "X_1", Symbol: "symbol_of_X_1"},
			},
		}
		if d := cmp.Diff(want, e); d != "" {
			t.Errorf("%s (-want +got):\n%s", arch, d)
		}
	}
}

// TestPageSize reads for which pages a file is laid out.
func TestPageSize(t *testing.T) {
	t.Parallel()
	for _, page := range pageSizes {
		raw := elftest.Make(elftest.File{Arch: "arm64", Page: page})
		if e, err := readELF(bytes.NewReader(raw), int64(len(raw))); err != nil || e.PageSize != page {
			t.Errorf("%d: %+v, %v", page, e, err)
		}
	}
}

// TestLoaderCache reads this machine's own, if it has one.
func TestLoaderCache(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil {
		t.Skip("this machine has no cache of glibc's loader")
	}
	paths := loaderCache(raw)
	if len(paths) == 0 {
		t.Fatal("nothing was read")
	}
	for _, p := range paths[:min(20, len(paths))] {
		if _, err := os.Lstat(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, cut := range []int{0, 10, 60, len(raw) / 2} {
		_ = loaderCache(raw[:min(cut, len(raw))])
	}
}
