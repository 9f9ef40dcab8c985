package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// CopyBlob brings a blob from the repository of one reference to that of
// another: nothing is sent if it is there, it is mounted within a registry,
// else streamed through and verified. An upload that breaks off goes on from
// where the registry says that it has come, or starts again. Layers that may not
// be distributed (Windows base layers) stay where they are.
func (c *Client) CopyBlob(ctx context.Context, from, to string, desc ocispecs.Descriptor) error {
	src, err := c.Parse(from)
	if err != nil {
		return err
	}
	dst, err := c.Parse(to)
	if err != nil {
		return err
	}
	hash, err := v1.NewHash(desc.Digest.String())
	if err != nil {
		return err
	}
	ctx = c.operation(ctx)
	m := c.meter(dst, desc)
	layer := &remote.MountableLayer{
		Reference: src.Context().Digest(desc.Digest.String()),
		Layer: &blob{desc: desc, hash: hash, open: m.open(func() (io.ReadCloser, error) {
			body, err := c.openBlob(ctx, src.Context(), desc.Digest)
			if err != nil {
				// Named here, or it would be blamed on the registry copied to.
				host := familiarHost(src.Context().RegistryStr())
				return nil, c.explain(ctx, host, host+"/"+src.Context().RepositoryStr()+"@"+desc.Digest.String(), err)
			}
			return body, nil
		})},
	}
	if err := c.pusher.Upload(ctx, dst.Context(), layer); err != nil {
		return c.explain(ctx, familiarHost(dst.Context().RegistryStr()), to, err)
	}
	m.arrived()
	return nil
}

func (c *Client) meter(to name.Reference, desc ocispecs.Descriptor) *meter {
	repo := familiarHost(to.Context().RegistryStr()) + "/" + to.Context().RepositoryStr()
	return &meter{report: c.progress, progress: Progress{Repository: repo, Digest: desc.Digest, Size: desc.Size}}
}

// PutBlob brings a blob to the repository of a reference, unless it is there
// already. open may be called more than once, since an upload may be repeated;
// it gives the blob's bytes from their beginning.
func (c *Client) PutBlob(ctx context.Context, to string, desc ocispecs.Descriptor, open func() (io.ReadCloser, error)) error {
	dst, err := c.Parse(to)
	if err != nil {
		return err
	}
	hash, err := v1.NewHash(desc.Digest.String())
	if err != nil {
		return fmt.Errorf("uploading blob %q: %w", desc.Digest, err)
	}
	ctx = c.operation(ctx)
	m := c.meter(dst, desc)
	if err := c.pusher.Upload(ctx, dst.Context(), &blob{desc: desc, hash: hash, open: m.open(open)}); err != nil {
		return c.explain(ctx, familiarHost(dst.Context().RegistryStr()), to, err)
	}
	m.arrived()
	return nil
}

// blob is bytes from elsewhere, in the form the library uploads. It knows its
// size and media type from its descriptor, which saves a request.
type blob struct {
	desc ocispecs.Descriptor
	hash v1.Hash
	open func() (io.ReadCloser, error)
}

func (b *blob) Digest() (v1.Hash, error) { return b.hash, nil }
func (b *blob) Size() (int64, error)     { return b.desc.Size, nil }
func (b *blob) MediaType() (types.MediaType, error) {
	return types.MediaType(b.desc.MediaType), nil
}

func (b *blob) Compressed() (io.ReadCloser, error) { return b.open() }

func (b *blob) DiffID() (v1.Hash, error) {
	return v1.Hash{}, errors.New("a blob that is copied is not unpacked")
}

func (b *blob) Uncompressed() (io.ReadCloser, error) {
	return nil, errors.New("a blob that is copied is not unpacked")
}
