package registry

import (
	"context"

	"github.com/google/go-containerregistry/pkg/v1/types"
	godigest "github.com/opencontainers/go-digest"
)

// manifest is a manifest whose bytes are sent as they are.
type manifest struct {
	raw       []byte
	mediaType string
}

func (m manifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m manifest) MediaType() (types.MediaType, error) { return types.MediaType(m.mediaType), nil }

// PutManifest writes the exact bytes of a manifest or index to a tag or
// digest. What it names must be in the repository already.
func (c *Client) PutManifest(ctx context.Context, ref, mediaType string, raw []byte) error {
	r, err := c.Parse(ref)
	if err != nil {
		return err
	}
	ctx = c.operation(ctx)
	if err := c.pusher.Put(ctx, r, manifest{raw: raw, mediaType: mediaType}); err != nil {
		return c.explainRef(ctx, r, err)
	}
	c.seen.note(r.Context(), godigest.FromBytes(raw))
	return nil
}
