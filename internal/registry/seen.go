package registry

import (
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	godigest "github.com/opencontainers/go-digest"
)

// seenFor is how long a manifest that was read or written is taken to be
// there. The clock is the monotonic one.
const seenFor = 2 * time.Minute

// seen remembers manifests that were read or written a moment ago.
type seen struct {
	mu sync.Mutex
	at map[name.Digest]time.Time
}

func (s *seen) note(repo name.Repository, d godigest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[name.Digest]time.Time{}
	}
	s.at[repo.Digest(d.String())] = time.Now()
}

// Seen tells whether this client read or wrote the manifest at a reference by
// digest within the last two minutes, which spares a question in a row of
// steps. It may have been deleted since.
func (c *Client) Seen(ref string) bool {
	r, err := c.Parse(ref)
	if err != nil {
		return false
	}
	d, ok := r.(name.Digest)
	if !ok {
		return false
	}
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	at, ok := c.seen.at[d]
	return ok && time.Since(at) < seenFor
}
