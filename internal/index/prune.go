package index

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// staleAfter is how long a download into the layout is taken to be alive.
const staleAfter = 24 * time.Hour

// sweep removes what a killed process left half written. It is called with the
// lock held, under which alone files are exchanged; only downloads (Fill) go on
// without it.
func (s store) sweep() {
	for _, dir := range []string{s.dir, filepath.Join(s.dir, ocispecs.ImageBlobsDir, digest.Canonical.String())} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil {
				continue
			}
			if strings.HasPrefix(entry.Name(), ".tmp-") ||
				strings.HasPrefix(entry.Name(), ".part-") && time.Since(info.ModTime()) > staleAfter {
				_ = os.Remove(filepath.Join(dir, entry.Name()))
			}
		}
	}
}

// prune removes the blobs that no draft reaches. It is called with the lock
// held. What cannot be removed does no harm, so nothing is reported; if
// something reachable cannot be read, nothing is removed.
func (s store) prune(top ocispecs.Index) {
	used := map[digest.Digest]bool{}
	for _, desc := range top.Manifests {
		if base := digest.Digest(desc.Annotations[annotationBase]); base != "" && !s.mark(base, used) {
			return
		}
		if !s.mark(desc.Digest, used) {
			return
		}
	}
	found, err := fs.Glob(os.DirFS(s.dir), ocispecs.ImageBlobsDir+"/*/*")
	if err != nil {
		return
	}
	for _, name := range found {
		d := digest.NewDigestFromEncoded(digest.Algorithm(path.Base(path.Dir(name))), path.Base(name))
		if d.Validate() == nil && !used[d] {
			_ = os.Remove(s.blobPath(d))
		}
	}
}

// mark notes a manifest or index and all that it names. It is false if
// something that must be in the layout is not.
func (s store) mark(d digest.Digest, used map[digest.Digest]bool) bool {
	if used[d] {
		return true
	}
	used[d] = true
	raw, err := s.blob(d)
	if err != nil {
		return false
	}
	var names struct {
		Manifests []ocispecs.Descriptor `json:"manifests"`
		Config    ocispecs.Descriptor   `json:"config"`
		Layers    []ocispecs.Descriptor `json:"layers"`
	}
	if json.Unmarshal(raw, &names) != nil {
		return false
	}
	for _, child := range names.Manifests {
		if !s.mark(child.Digest, used) {
			return false
		}
	}
	used[names.Config.Digest] = true
	for _, layer := range names.Layers {
		used[layer.Digest] = true
	}
	return true
}
