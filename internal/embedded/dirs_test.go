package embedded

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDirsFromEnv(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the expectations are Linux's")
	}
	run := t.TempDir()
	long := "/home/" + strings.Repeat("x", 90)
	for name, tt := range map[string]struct {
		env  map[string]string
		want Dirs
		err  string
	}{
		"home alone": {
			env:  map[string]string{"HOME": "/home/me"},
			want: Dirs{Cache: "/home/me/.cache/archmage", State: "/home/me/.local/state/archmage", Run: "/home/me/.local/state/archmage/run"},
		},
		"all of XDG": {
			env:  map[string]string{"XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": run},
			want: Dirs{Cache: "/c/archmage", State: "/s/archmage", Run: filepath.Join(run, "archmage")},
		},
		"relative paths are ignored": {
			env:  map[string]string{"HOME": "/home/me", "XDG_STATE_HOME": "s", "XDG_RUNTIME_DIR": "r"},
			want: Dirs{Cache: "/home/me/.cache/archmage", State: "/home/me/.local/state/archmage", Run: "/home/me/.local/state/archmage/run"},
		},
		"a runtime directory that is gone": {
			env:  map[string]string{"HOME": "/home/me", "XDG_RUNTIME_DIR": filepath.Join(run, "none")},
			want: Dirs{Cache: "/home/me/.cache/archmage", State: "/home/me/.local/state/archmage", Run: "/home/me/.local/state/archmage/run"},
		},
		"too long for a socket": {
			env:  map[string]string{"HOME": long, "TMPDIR": "/t"},
			want: Dirs{Cache: long + "/.cache/archmage", State: long + "/.local/state/archmage", Run: "/t/archmage-" + uid()},
		},
		"no home": {env: map[string]string{"XDG_CACHE_HOME": "/c"}, err: "set HOME"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := DirsFromEnv(func(key string) string { return tt.env[key] })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{open, filepath.Join(dir, "a", "b")} {
		if err := private(d); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", d, info.Mode())
		}
	}

	// Somebody else could have put a link into the temporary directory.
	link := filepath.Join(dir, "link")
	if err := os.Symlink(open, link); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if err := private(link); err == nil {
		t.Error("a symbolic link passes for a private directory")
	}
	if os.Getuid() == 0 {
		if err := os.Lchown(open, 1, 1); err != nil {
			t.Fatal(err)
		}
		if err := private(open); err == nil || !strings.Contains(err.Error(), "belongs to uid 1") {
			t.Errorf("a directory of uid 1: %v", err)
		}
	}
}
