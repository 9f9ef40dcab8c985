package build

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	fstypes "github.com/tonistiigi/fsutil/types"
)

// Checkout is the git checkout that a release is built from.
type Checkout struct {
	// Commit is its full hash, "" outside git and before the first commit.
	Commit string
	// Time is the commit's.
	Time time.Time
	// Dirty reports whether files were changed, added or removed since. What git
	// ignores does not count.
	Dirty bool

	umask   fs.FileMode
	mu      sync.Mutex
	tracked map[string]func() map[string]bool // by directory
}

// ReadCheckout asks git what is checked out in dir or above it.
func ReadCheckout(ctx context.Context, dir string) *Checkout {
	c := &Checkout{umask: readUmask(), tracked: map[string]func() map[string]bool{}}
	changes, ok := runGit(ctx, dir, "status", "--porcelain", "--untracked-files=normal")
	if !ok {
		return c
	}
	text, ok := runGit(ctx, dir, "log", "-1", "--format=%H %ct")
	if !ok {
		return c
	}
	commit, seconds, _ := strings.Cut(strings.TrimSpace(text), " ")
	if t, err := parseEpoch(seconds); err == nil && t != nil {
		c.Commit, c.Time, c.Dirty = commit, *t, changes != ""
	}
	return c
}

// runGit runs git in a directory and reports whether it went well.
func runGit(ctx context.Context, dir string, args ...string) (string, bool) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return string(out), err == nil
}

// modes sets what a file below dir is sent with to what it has in every clone.
// Git keeps no more of a mode than whether it is executable; the rest is the
// umask's doing. Files that git does not have, as prepare commands make them,
// may have a mode that is intentional: it stays unless this umask gives it.
func (c *Checkout) modes(dir string) func(path string, st *fstypes.Stat) {
	if c == nil {
		c = ReadCheckout(context.Background(), dir)
	}
	tracked := c.files(dir)
	return func(path string, st *fstypes.Stat) {
		mode := fs.FileMode(st.Mode)
		perm, usual := mode.Perm(), fs.FileMode(0o644)
		known := tracked[filepath.ToSlash(path)]
		switch {
		case mode&fs.ModeSymlink != 0:
			known, usual = true, 0o777
		case mode.IsDir():
			known, usual = known || perm == 0o777&^c.umask, 0o755
		case !mode.IsRegular():
			return
		default:
			plain := mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) == 0
			known = known || plain && (perm == 0o666&^c.umask || perm == 0o777&^c.umask)
			if perm&0o100 != 0 {
				usual = 0o755
			}
		}
		if known {
			st.Mode = uint32(mode.Type() | usual)
		}
		if tracked[filepath.ToSlash(path)] {
			st.Xattrs = nil
		}
	}
}

// files are those below dir that git has, with their directories. Each
// directory is read once.
func (c *Checkout) files(dir string) map[string]bool {
	read := sync.OnceValue(func() map[string]bool {
		out := map[string]bool{}
		list, _ := runGit(context.Background(), dir, "ls-files", "-z", "--recurse-submodules") // outside git there are none
		for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
			for ; name != "." && !out[name]; name = path.Dir(name) {
				out[name] = true
			}
		}
		return out
	})
	c.mu.Lock()
	if have := c.tracked[dir]; have != nil {
		read = have
	} else {
		c.tracked[dir] = read
	}
	c.mu.Unlock()
	return read()
}

// readUmask returns this process's umask. The system call that asks for it sets
// another for a moment, for whichever file is made then.
func readUmask() fs.FileMode {
	dir, err := os.MkdirTemp("", "archmage-")
	if err != nil {
		return 0o022
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is empty
	probe := filepath.Join(dir, "umask")
	if err := os.Mkdir(probe, 0o777); err != nil {
		return 0o022
	}
	st, err := os.Stat(probe)
	if err != nil {
		return 0o022
	}
	return 0o777 &^ st.Mode().Perm()
}
