package registry

import (
	"context"
	"errors"

	"github.com/google/go-containerregistry/pkg/name"
	godigest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Head returns the media type, digest and size of a manifest as the registry
// states them, without its bytes. It costs no pull at Docker Hub. A registry
// whose HEAD is incomplete is asked with GET.
func (c *Client) Head(ctx context.Context, ref string) (ocispecs.Descriptor, error) {
	r, err := c.Parse(ref)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	ctx = c.operation(ctx)
	found, err := c.puller.Head(ctx, r)
	if err == nil {
		return ocispecs.Descriptor{
			MediaType: string(found.MediaType),
			Digest:    godigest.Digest(found.Digest.String()),
			Size:      found.Size,
		}, nil
	}
	err = c.explainRef(ctx, r, err)
	var e *Error
	if errors.As(err, &e) && e.Kind == Failed {
		desc, _, err := c.Manifest(ctx, ref)
		return desc, err
	}
	return ocispecs.Descriptor{}, err
}

// IsNotFound tells whether an error says that a registry is well but does not
// have what was asked for.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == NotFound
}

func (c *Client) explainRef(ctx context.Context, r name.Reference, err error) error {
	host := familiarHost(r.Context().RegistryStr())
	ref := host + "/" + r.Context().RepositoryStr()
	if _, ok := r.(name.Digest); ok {
		ref += "@" + r.Identifier()
	} else {
		ref += ":" + r.Identifier()
	}
	return c.explain(ctx, host, ref, err)
}
