package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/singleflight"
)

// blobs remembers which blobs were there a moment ago.
type blobs struct {
	asking singleflight.Group
	mu     sync.Mutex
	at     map[string]time.Time
}

// HasBlob reports whether a repository has a blob of the size that desc states.
// Several who ask at a time share one request, and a blob that was there is not
// asked for again for two minutes.
func (c *Client) HasBlob(ctx context.Context, repository string, desc ocispecs.Descriptor) (bool, error) {
	if desc.Digest == ocispecs.DescriptorEmptyJSON.Digest {
		return true, nil // known by all; some registries do not keep it
	}
	if desc.Digest.Validate() != nil {
		return false, nil
	}
	key := repository + "@" + desc.Digest.String()
	c.blobs.mu.Lock()
	at, seen := c.blobs.at[key]
	c.blobs.mu.Unlock()
	if seen && time.Since(at) < seenFor {
		return true, nil
	}
	// Whoever asks first decides with its context how long all wait; if that
	// one gives up, the others ask themselves.
	answer, err, shared := c.blobs.asking.Do(key, func() (any, error) { return c.askBlob(ctx, key, desc) })
	if err != nil && shared && ctx.Err() == nil {
		return c.askBlob(ctx, key, desc)
	}
	has, _ := answer.(bool)
	return has, err
}

func (c *Client) askBlob(ctx context.Context, ref string, desc ocispecs.Descriptor) (bool, error) {
	size, err := c.BlobSize(ctx, ref, desc.Digest)
	var e *Error
	if errors.As(err, &e) && e.Kind == Failed { // a registry without HEAD for blobs
		body, opened := c.OpenBlob(ctx, ref, desc.Digest)
		if err = opened; err == nil {
			size = -1
			_ = body.Close() // that it begins is enough
		}
	}
	if errors.As(err, &e) && (e.Kind == NotFound || e.Kind == Corrupt) {
		return false, nil
	}
	if err != nil || size >= 0 && size != desc.Size {
		return false, err
	}
	c.blobs.mu.Lock()
	defer c.blobs.mu.Unlock()
	if c.blobs.at == nil {
		c.blobs.at = map[string]time.Time{}
	}
	c.blobs.at[ref] = time.Now()
	return true, nil
}
