package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/rootfs/elftest"
)

// layerOf scans a layer and returns its files by path.
func layerOf(t *testing.T, write func(w *tar.Writer) error) map[string]*File {
	t.Helper()
	out := map[string]*File{}
	body := piped(func(w io.Writer) error {
		tw := tar.NewWriter(w)
		if err := write(tw); err != nil {
			return err
		}
		return tw.Close()
	})
	if _, err := scan(t.Context(), body, NewInspector(t.TempDir()), func(e Entry) error { out[e.Path] = e.File; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestText keeps what scripts and configuration files say, and no more of it
// than fits.
func TestText(t *testing.T) {
	t.Parallel()
	put := func(w *tar.Writer, name, begin string, size int64) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: size}); err != nil {
			return err
		}
		_, err := io.Copy(w, io.LimitReader(io.MultiReader(strings.NewReader(begin), zeros{}), size))
		return err
	}
	files := layerOf(t, func(w *tar.Writer) error {
		for i := range 100 { // more than all scripts of a layer together may have
			if err := put(w, fmt.Sprintf("s/%d", i), "#!/bin/sh\nexec x\n", 300<<10); err != nil {
				return err
			}
		}
		for name, text := range map[string]string{
			"bin/short": "#!/usr/bin/env bash\nexec x\n", "bin/tool.py": "#!/usr/bin/python3\nimport x\n", "etc/ld.so.conf": "/opt/lib\n", "lib.sh": "exec x\n", "app/package.json": "{}", "app/node_modules/x/package.json": "{}", "etc/other": "x",
		} {
			if err := put(w, name, text, int64(len(text))); err != nil {
				return err
			}
		}
		return put(w, "huge", "#!/bin/sh\nexec x\n", 100<<20)
	})
	total := 0
	for name, f := range files {
		if f == nil {
			continue
		}
		if len(f.Text) > MaxText {
			t.Errorf("%s: %d bytes are kept", name, len(f.Text))
		}
		total += len(f.Text)
	}
	if total > maxTexts {
		t.Errorf("%d bytes are kept", total)
	}
	if f := files["s/0"]; !strings.HasPrefix(string(f.Text), "#!/bin/sh\nexec x\n") || !f.Cut {
		t.Errorf("the first script: %d bytes, cut %t", len(f.Text), f.Cut)
	}
	if f := files["huge"]; f.Shebang != "/bin/sh" || !f.Cut {
		t.Errorf("the last script: %q, cut %t", f.Shebang, f.Cut)
	}
	if f := files["bin/tool.py"]; f.Text != nil || f.Cut {
		t.Errorf("a script of Python is kept: %q", f.Text)
	}
	if files["etc/other"] != nil || files["app/node_modules/x/package.json"] != nil {
		t.Error("files of no interest are kept")
	}
	few := layerOf(t, func(w *tar.Writer) error { return put(w, "etc/ld.so.conf", "/opt/lib\n", 9) })
	if f := few["etc/ld.so.conf"]; f == nil || string(f.Text) != "/opt/lib\n" || f.Cut {
		t.Errorf("a configuration file: %+v", f)
	}
}

// TestFloods reads ELF files with more in them than honest ones have.
func TestFloods(t *testing.T) {
	t.Parallel()
	needed := make([]string, 100_000)
	versions := make([]string, 20_000)
	for i := range needed {
		needed[i] = fmt.Sprintf("lib%d.so", i)
	}
	for i := range versions {
		versions[i] = fmt.Sprintf("V_%d", i)
	}
	for _, f := range []elftest.File{
		{Arch: "arm64", Needed: needed},
		{Arch: "arm64", Wants: map[string][]string{"libc.so.6": versions}},
		{Arch: "amd64", Defines: versions},
	} {
		raw := elftest.Make(f)
		e, err := readELF(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Needed) > maxNeeded || len(e.Wants) > maxVersions || len(e.Defines) > maxVersions {
			t.Errorf("%d libraries, %d and %d versions are kept", len(e.Needed), len(e.Wants), len(e.Defines))
		}
	}
}
