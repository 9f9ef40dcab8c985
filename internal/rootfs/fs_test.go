package rootfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// TestRootfs applies layers as runtimes do.
func TestRootfs(t *testing.T) {
	t.Parallel()
	// An entry is written as "path", "dir/", "link -> target" or "link => target" (hard).
	parse := func(s string) Entry {
		switch {
		case strings.Contains(s, " -> "):
			name, to, _ := strings.Cut(s, " -> ")
			return Entry{Path: name, Kind: KindSymlink, Link: to}
		case strings.Contains(s, " => "):
			name, to, _ := strings.Cut(s, " => ")
			return Entry{Path: name, Kind: KindHardlink, Link: to}
		case strings.HasSuffix(s, "/"):
			return Entry{Path: strings.TrimSuffix(s, "/"), Kind: KindDir}
		}
		return Entry{Path: s, Kind: KindFile}
	}
	tests := []struct {
		name   string
		layers []string
		want   string
	}{
		{"one", []string{"a b/c"}, "/a /b/c"},
		{"whiteout", []string{"a b/c b/d", "b/.wh.c"}, "/a /b/d"},
		{"whiteout of a directory", []string{"a b/c b/d", ".wh.b"}, "/a"},
		{"whiteout of what is not there", []string{"a", ".wh.b x/.wh.y"}, "/a"},
		{"whiteout, then added", []string{"a", ".wh.a a"}, "/a"},
		{"added, then whiteout of the lower one", []string{"a", "a .wh.a"}, "/a"},
		{"whiteout of a directory that gets files in the same layer", []string{"d/old", "d/new .wh.d"}, "/d/new"},
		{"opaque", []string{"d/a d/e/b", "d/ d/c d/.wh..wh..opq"}, "/d/c"},
		{"opaque first", []string{"d/a d/e/b", "d/ d/.wh..wh..opq d/c"}, "/d/c"},
		{"opaque below what is kept", []string{"d/a d/e/b", "d/e/n d/.wh..wh..opq"}, "/d/e/n"},
		{"opaque root", []string{"a b/c", ".wh..wh..opq n"}, "/n"},
		{"aufs", []string{".wh..wh.aufs .wh..wh.plnk/1 a"}, "/a"},
		{"file over a directory", []string{"d/a d/b", "d"}, "/d"},
		{"directory over a file", []string{"d", "d/ d/a"}, "/d/a"},
		{"directory over a directory", []string{"d/ d/a", "d/ d/b"}, "/d/a /d/b"},
		{"file below a file", []string{"d", "d/a"}, "/d/a"},
	}
	for _, tt := range tests {
		r := New()
		for _, l := range tt.layers {
			r.Next(digest.FromString(l))
			for _, e := range strings.Fields(l) {
				if err := r.Apply(parse(e)); err != nil {
					t.Fatal(err)
				}
			}
		}
		var got []string
		r.Each(func(name string, _ *Inode) { got = append(got, name) })
		if d := cmp.Diff(strings.Fields(tt.want), got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	// Links, with what lies where.
	for _, tt := range []struct {
		name   string
		layers [][]string
		look   map[string]string
	}{
		{"merged usr", [][]string{{"usr/bin/", "bin -> usr/bin"}, {"bin/sh"}}, map[string]string{"/bin/sh": "/usr/bin/sh", "/usr/bin/sh": "/usr/bin/sh"}},
		{"absolute", [][]string{{"a/b", "x/y -> /a"}}, map[string]string{"x/y/b": "/a/b", "/x/y": "/a"}},
		{"relative", [][]string{{"a/b", "x/y -> ../a"}}, map[string]string{"x/y/b": "/a/b"}},
		{"directory over a link", [][]string{{"r/a", "d -> r"}, {"d/", "d/b"}}, map[string]string{"d/b": "/d/b", "d/a": "", "r/a": "/r/a"}},
		{"hard link to a link", [][]string{{"a", "l -> a"}, {"h => l"}}, map[string]string{"h": "/a"}},
		{"hard link whose first name goes", [][]string{{"a"}, {"h => a", ".wh.a"}}, map[string]string{"h": "/h", "a": ""}},
		{"hard link to nothing", [][]string{{"h => nothing"}}, map[string]string{"h": ""}},
		{"whiteout through a link", [][]string{{"r/a", "d -> r"}, {"d/.wh.a"}}, map[string]string{"r/a": ""}},
	} {
		r := New()
		for _, l := range tt.layers {
			r.Next(digest.FromString(tt.name))
			for _, e := range l {
				if err := r.Apply(parse(e)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for name, want := range tt.look {
			if _, got := r.Resolve(name, true); got != want {
				t.Errorf("%s: %q is %q, want %q", tt.name, name, got, want)
			}
		}
	}
}
