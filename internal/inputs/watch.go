package inputs

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// Watch has a solve of the builds that were read send what was read, and note what
// is not that: files that changed meanwhile, and requests that were not foreseen. It
// changes opt, which has the mounts of the builds and is solved once.
func Watch(opt *client.SolveOpt, readings ...*Reading) error {
	s, err := salt(readings)
	if err != nil {
		return err
	}
	opt.SharedKey += ":" + s
	mounts := maps.Clone(opt.LocalMounts)
	for name, mount := range mounts {
		mounts[name] = &watched{FS: mount, name: name, readings: readings}
	}
	opt.LocalMounts = mounts
	opt.LocalFilterOpt = func(name string, filter *fsutil.FilterOpt) error {
		key := Request(name, filter)
		foreseen := false
		for _, r := range readings {
			foreseen = r.ask(key) || foreseen
		}
		for _, r := range readings {
			if !foreseen {
				r.surprise(key)
			}
		}
		filter.Map = func(_ string, st *fstypes.Stat) fsutil.MapResult {
			visit(readings, key, name, st)
			return fsutil.MapResultKeep
		}
		return nil
	}
	return nil
}

// salt is the part of the shared key that changes where BuildKit would take a file
// for another one.
func salt(readings []*Reading) (string, error) {
	byDir := map[string][]*listing{}
	for _, r := range readings {
		if r.result.final == nil { // which files are asked for is unknown
			return identity.NewID(), nil
		}
		for _, q := range r.result.locals {
			if l := r.listing[q.key()]; l != nil {
				dir := r.build.Dirs[q.name]
				byDir[dir] = append(byDir[dir], l)
			}
		}
	}
	text := ""
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		key, err := readings[0].reader.key(dir, byDir[dir])
		if err != nil {
			return "", err
		}
		text += key
	}
	return digest.FromString(text).Encoded()[:16], nil
}

// ask notes a request, and reports whether it was foreseen.
func (r *Reading) ask(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listing[key] == nil {
		return false
	}
	if r.visited[key] == nil {
		r.visited[key] = map[string]bool{}
	}
	return true
}

func (r *Reading) surprise(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unexpected = append(r.unexpected, key)
}

// visit compares a file that is about to be sent with what was read.
func visit(readings []*Reading, key, name string, st *fstypes.Stat) {
	content := ""
	var err error
	if fs.FileMode(st.Mode).IsRegular() {
		content, err = readings[0].reader.content(readings[0].build, name, st.Path)
	}
	now := describe(st, content)
	for _, r := range readings {
		r.visit(key, name, st.Path, now, err)
	}
}

func (r *Reading) visit(key, name, path, now string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.listing[key]
	if l == nil {
		return
	}
	r.visited[key][path] = true
	if err != nil || l.entries[path] != now {
		r.changed[name+"/"+path] = true
	}
}

// Changed names the files that were not sent as they had been read, because they
// changed while the build ran.
func (r *Reading) Changed() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.result.locals {
		visited, asked := r.visited[q.key()]
		l := r.listing[q.key()]
		if !asked || l == nil {
			continue
		}
		for path := range l.entries {
			if !visited[path] {
				r.changed[q.name+"/"+path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(r.changed))
}

// Sent are the inputs after the solve: with what was not sent as it had been read,
// and what nobody had read, as unknown.
func (r *Reading) Sent() Inputs {
	in := Inputs{Digest: r.Digest, Parts: r.Parts, Unknown: slices.Clone(r.Unknown)}
	for _, path := range r.Changed() {
		in.Unknown = append(in.Unknown, path+" changed while it was built")
	}
	for _, what := range r.Unexpected() {
		in.Unknown = append(in.Unknown, "the worker read more than had been foreseen: "+what)
	}
	return in
}

// Requests are the sets of files that the daemon is expected to ask for.
func (r *Reading) Requests() []string {
	var out []string
	for _, q := range r.result.locals {
		out = append(out, q.key())
	}
	return out
}

// Request names a set of files by its directory and filters, as Requests does.
func Request(name string, f *fsutil.FilterOpt) string {
	return request{name: name, includes: f.IncludePatterns, excludes: f.ExcludePatterns, follow: f.FollowPaths}.key()
}

// Unexpected names what the daemon asked for and nobody had read.
func (r *Reading) Unexpected() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.unexpected)
}

// Unreadable is an UnreadableError of a file that the daemon asked for and did not
// get, or nil. BuildKit goes on with an empty file.
func (r *Reading) Unreadable() *UnreadableError {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unreadable
}

// watched is a mount whose files are compared, while they are sent, with what was
// read of them before.
type watched struct {
	fsutil.FS
	name     string
	readings []*Reading
}

// Open implements fsutil.FS.
func (w *watched) Open(path string) (io.ReadCloser, error) {
	f, err := w.FS.Open(path)
	if err != nil {
		// What is a socket, or gone, is empty for BuildKit as well.
		if _, known := w.readings[0].reader.content(w.readings[0].build, w.name, path); known != nil {
			for _, r := range w.readings {
				r.notRead(w.name, path, err)
			}
		}
		return nil, err
	}
	return &compared{ReadCloser: f, path: path, watched: w, sum: sha256.New()}, nil
}

func (r *Reading) notRead(name, path string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unreadable == nil {
		r.unreadable = unreadable(r.build.Dirs[name], path, err)
	}
}

// compared is a file on its way to the daemon.
type compared struct {
	io.ReadCloser
	path    string
	watched *watched
	sum     hash.Hash
	ended   bool
}

// Read implements io.Reader.
func (c *compared) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF && !c.ended {
		c.ended = true
		for _, r := range c.watched.readings {
			r.sentAs(c.watched.name, c.path, hex.EncodeToString(c.sum.Sum(nil)))
		}
	}
	return n, err
}

func (r *Reading) sentAs(name, path, content string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.result.locals {
		if q.name != name {
			continue
		}
		l := r.listing[q.key()]
		if l == nil {
			continue
		}
		if st, ok := l.stats[path]; ok && st.content != content {
			r.changed[name+"/"+path] = true
		}
	}
}
