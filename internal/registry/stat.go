package registry

import (
	"context"

	godigest "github.com/opencontainers/go-digest"
)

// BlobSize asks for the size of a blob of the repository of ref, in bytes,
// without its bytes. A blob that is not there is an Error of kind NotFound.
func (c *Client) BlobSize(ctx context.Context, ref string, digest godigest.Digest) (int64, error) {
	r, err := c.Parse(ref)
	if err != nil {
		return 0, err
	}
	layer, err := c.puller.Layer(ctx, r.Context().Digest(digest.String()))
	if err == nil {
		var size int64
		if size, err = layer.Size(); err == nil {
			return size, nil
		}
	}
	return 0, c.explain(ctx, familiarHost(r.Context().RegistryStr()), ref, err)
}
