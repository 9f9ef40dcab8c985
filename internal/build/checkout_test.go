package build

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	fstypes "github.com/tonistiigi/fsutil/types"
)

// What is sent of a file has the mode that every clone gives it, and a mode of a
// file that git does not have stays if no umask made it.
func TestModes(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{".gitignore": "dist\nprivate\n", "file": "f", "sub/program": "p", "dist/made": "m", "private": "p"})
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "one")
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		path               string
		umask, sends, want fs.FileMode
	}{
		"a checkout":                {"file", 0o022, 0o644, 0o644},
		"under a strict umask":      {"file", 0o077, 0o600, 0o644},
		"under another than now":    {"file", 0o022, 0o600, 0o644},
		"under none":                {"file", 0o022, 0o666, 0o644},
		"a program":                 {"sub/program", 0o022, 0o700, 0o755},
		"a program of a group":      {"sub/program", 0o002, 0o775, 0o755},
		"a directory":               {"sub", 0o022, fs.ModeDir | 0o700, fs.ModeDir | 0o755},
		"a directory of a group":    {"sub", 0o022, fs.ModeDir | fs.ModeSetgid | 0o770, fs.ModeDir | 0o755},
		"a link":                    {"link", 0o022, fs.ModeSymlink | 0o755, fs.ModeSymlink | 0o777},
		"made":                      {"dist/made", 0o022, 0o644, 0o644},
		"made under a strict umask": {"dist/made", 0o077, 0o700, 0o755},
		"made for a group":          {"dist/made", 0o027, 0o640, 0o644},
		"a made directory":          {"dist", 0o077, fs.ModeDir | 0o700, fs.ModeDir | 0o755},
		"private":                   {"private", 0o022, 0o600, 0o600},
		"a private directory":       {"dist", 0o022, fs.ModeDir | 0o700, fs.ModeDir | 0o700},
		"setuid":                    {"dist/made", 0o022, fs.ModeSetuid | 0o755, fs.ModeSetuid | 0o755},
		"a pipe":                    {"dist/made", 0o022, fs.ModeNamedPipe | 0o600, fs.ModeNamedPipe | 0o600},
	} {
		c := ReadCheckout(t.Context(), dir)
		c.umask = tt.umask
		st := &fstypes.Stat{Mode: uint32(tt.sends)}
		c.modes(dir)(tt.path, st)
		if got := fs.FileMode(st.Mode); got != tt.want {
			t.Errorf("%s: %s is sent as %s, want %s", name, tt.path, got, tt.want)
		}
	}
}

func TestCheckout(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"a": "a", "sub/b": "b", ".gitignore": "ignored"})
	if c := ReadCheckout(t.Context(), dir); c.Commit != "" || c.Dirty {
		t.Errorf("outside git: %+v", c)
	}
	git(t, dir, "init", "-q")
	if c := ReadCheckout(t.Context(), dir); c.Commit != "" {
		t.Errorf("without a commit: %+v", c)
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "one")
	write(t, dir, map[string]string{"ignored": "i"})
	head := git(t, dir, "rev-parse", "HEAD")
	for _, at := range []string{dir, filepath.Join(dir, "sub")} {
		if c := ReadCheckout(t.Context(), at); c.Commit != head || c.Dirty || !c.Time.Equal(time.Unix(1_000_000_000, 0)) {
			t.Errorf("%s: %+v, want %s, clean", at, c, head)
		}
	}
	write(t, dir, map[string]string{"new": "n"})
	if c := ReadCheckout(t.Context(), filepath.Join(dir, "sub")); c.Commit != head || !c.Dirty {
		t.Errorf("changed: %+v", c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c := ReadCheckout(ctx, dir); c.Commit != "" {
		t.Errorf("interrupted: %+v", c)
	}
}
