package release

import (
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

const (
	// quiet is how long an upload takes before it is shown.
	quiet = time.Second
	// redraw is the time between two states of the line.
	redraw = 200 * time.Millisecond
)

// traffic shows in a line how much of the images is on its way to registries,
// between begin and end. What a registry has or mounts does not count.
type traffic struct {
	status *ui.Status

	mu           sync.Mutex
	shows        bool
	since, drawn time.Time
	blobs        map[parcel]registry.Progress
}

type parcel struct {
	repository string
	digest     digest.Digest
}

func (t *traffic) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shows, t.since, t.drawn, t.blobs = true, time.Now(), time.Time{}, map[parcel]registry.Progress{}
}

func (t *traffic) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shows = false
	t.status.Done("upload")
}

// report takes what the client tells from its goroutines.
func (t *traffic) report(p registry.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.shows || p.Sent == 0 {
		return
	}
	t.blobs[parcel{p.Repository, p.Digest}] = p
	now := time.Now()
	if now.Sub(t.since) < quiet || now.Sub(t.drawn) < redraw {
		return
	}
	t.drawn = now
	var done, size int64
	for _, b := range t.blobs {
		done += b.Done
		size += b.Size
	}
	t.status.Set("upload", fmt.Sprintf("uploading: %s of %s so far", ui.Bytes(done), ui.Bytes(size)))
}
