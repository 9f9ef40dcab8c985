package inputs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// listing is the files of one request, by path: what counts of each.
type listing struct {
	entries map[string]string
	// stats are what the daemon compares to find out whether it has a file.
	stats map[string]fileStat
}

// fileStat is what BuildKit's transfer tells files apart by.
type fileStat struct {
	size, mtime int64
	mode        uint32
	content     string
}

// WrittenSince names the files on disk that were written or replaced after a
// moment, as "context/dist/app".
func (r *Reading) WrittenSince(t time.Time) []string {
	found := map[string]bool{}
	for _, q := range r.result.locals {
		l, dir := r.listing[q.key()], r.build.Dirs[q.name]
		if l == nil || dir == "" {
			continue
		}
		for path := range l.stats {
			full := filepath.Join(dir, path)
			if id, ok := identify(full); ok && !time.Unix(0, id.change).Before(t.Add(-settled)) {
				found[q.name+"/"+path] = true
			} else if info, err := os.Lstat(full); !ok && err == nil && !info.ModTime().Before(t.Add(-settled)) {
				found[q.name+"/"+path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// tree is the files that a request is answered with: what the session sends.
func (r *Reader) tree(b Build, q request, each fsutil.MapFunc) (fsutil.FS, error) {
	mount, ok := b.Opt.LocalMounts[q.name]
	if !ok {
		return nil, fmt.Errorf("the directory %q is not offered", q.name)
	}
	return fsutil.NewFilterFS(mount, &fsutil.FilterOpt{
		IncludePatterns: q.includes, ExcludePatterns: q.excludes, FollowPaths: q.follow, Map: each,
	})
}

// list reads the files of a request.
func (r *Reader) list(ctx context.Context, b Build, q request) (*listing, error) {
	l := &listing{entries: map[string]string{}, stats: map[string]fileStat{}}
	tree, err := r.tree(b, q, nil)
	if err != nil {
		return nil, err
	}
	err = tree.Walk(ctx, "", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*fstypes.Stat)
		if !ok {
			return fmt.Errorf("%s has no status", path)
		}
		return r.entry(b, q.name, st, l)
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (r *Reader) entry(b Build, mount string, st *fstypes.Stat, l *listing) error {
	content := ""
	if fs.FileMode(st.Mode).IsRegular() {
		var err error
		if content, err = r.content(b, mount, st.Path); err != nil {
			return err
		}
		l.stats[st.Path] = fileStat{size: st.Size, mtime: st.ModTime, mode: st.Mode, content: content}
	}
	l.entries[st.Path] = describe(st, content)
	return nil
}

// describe is what counts of a file: BuildKit's cache key of it has the same.
func describe(st *fstypes.Stat, content string) string {
	text := fs.FileMode(st.Mode).String()
	switch mode := fs.FileMode(st.Mode); {
	case mode&fs.ModeSymlink != 0:
		text += " -> " + st.Linkname
	case mode.IsRegular():
		text += " " + content
	case st.Devmajor != 0 || st.Devminor != 0:
		text += fmt.Sprintf(" %d:%d", st.Devmajor, st.Devminor)
	}
	for _, k := range slices.Sorted(maps.Keys(st.Xattrs)) {
		text += fmt.Sprintf(" %s=%x", k, st.Xattrs[k])
	}
	return text
}

// content is the digest of a file's bytes.
func (r *Reader) content(b Build, mount, path string) (string, error) {
	dir := b.Dirs[mount]
	return r.files.digest(dir, path, func() (io.ReadCloser, error) { return b.Opt.LocalMounts[mount].Open(path) })
}

// fileCache holds digests of files that did not change since they were read, as
// far as the kernel tells: within one release many builds read the same files.
type fileCache struct {
	mu    sync.Mutex
	known map[fileID]string
}

// fileID changes whenever a file is written or replaced.
type fileID struct {
	device, inode       uint64
	size, mtime, change int64
}

// settled is how old a change must be before the file's times tell of any
// further one: they advance with the kernel's clock tick.
const settled = 100 * time.Millisecond

func (c *fileCache) digest(dir, path string, open func() (io.ReadCloser, error)) (string, error) {
	began := time.Now()
	var id fileID
	var ok bool
	if dir != "" {
		id, ok = identify(filepath.Join(dir, path))
	}
	if ok {
		c.mu.Lock()
		known := c.known[id]
		c.mu.Unlock()
		if known != "" {
			return known, nil
		}
	}
	f, err := open()
	switch {
	case errors.Is(err, syscall.ENXIO): // a socket, which BuildKit sends as an empty file
		return "socket", nil
	case errors.Is(err, fs.ErrNotExist):
		return "", err
	case err != nil:
		return "", unreadable(dir, path, err)
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", unreadable(dir, path, err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if ok && began.Sub(time.Unix(0, id.change)) > settled {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.known == nil {
			c.known = map[fileID]string{}
		}
		c.known[id] = sum
	}
	return sum, nil
}

func unreadable(dir, path string, err error) *UnreadableError {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &UnreadableError{Path: filepath.Join(dir, path), Err: err}
}
