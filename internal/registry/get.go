package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	godigest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifest returns the exact bytes of a manifest or index and the descriptor
// computed from them. A reference by digest is verified; the library bounds
// the size.
func (c *Client) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	r, err := c.Parse(ref)
	if err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	ctx = c.operation(ctx)
	var got *remote.Descriptor
	err = c.again(ctx, func() (err error) {
		got, err = c.puller.Get(ctx, r)
		return err
	})
	if err != nil {
		return ocispecs.Descriptor{}, nil, c.explainRef(ctx, r, err)
	}
	c.seen.note(r.Context(), godigest.Digest(got.Digest.String()))
	return ocispecs.Descriptor{
		MediaType: string(got.MediaType),
		Digest:    godigest.Digest(got.Digest.String()),
		Size:      got.Size,
	}, got.Manifest, nil
}

// Listed is Manifest for one that an index of the same repository names. A cache
// or mirror may have the index a moment before what is in it, so one that is
// missing is asked for some more times.
func (c *Client) Listed(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	ctx = c.operation(ctx)
	wait := c.backoff
	for look := 1; ; look++ {
		desc, raw, err := c.Manifest(ctx, ref)
		if look == looks || !IsNotFound(err) || !budgetOf(ctx).wait(ctx, wait) {
			return desc, raw, err
		}
		wait *= 2
	}
}

// looks is how often a manifest that an index names is asked for where it is
// missing: with the usual backoff, for three and a half seconds.
const looks = 4

// Blob returns a blob of the repository of ref, verified against the
// descriptor's digest and size. More than limit bytes are refused before
// anything is read.
func (c *Client) Blob(ctx context.Context, ref string, desc ocispecs.Descriptor, limit int64) ([]byte, error) {
	if desc.Size < 0 || desc.Size > limit {
		return nil, fmt.Errorf("reading blob %q of %q: it states %d bytes, more than the %d allowed here", desc.Digest, ref, desc.Size, limit)
	}
	ctx = c.operation(ctx)
	var raw []byte
	err := c.again(ctx, func() error {
		body, err := c.OpenBlob(ctx, ref, desc.Digest)
		if err != nil {
			return &spentError{err}
		}
		defer body.Close()
		raw, err = io.ReadAll(io.LimitReader(body, desc.Size+1))
		return err
	})
	var opening *spentError
	if errors.As(err, &opening) {
		return nil, opening.err
	}
	if err == nil && int64(len(raw)) == desc.Size && desc.Digest.Algorithm().FromBytes(raw) == desc.Digest {
		return raw, nil
	}
	r, parseErr := c.Parse(ref)
	if parseErr != nil {
		return nil, parseErr
	}
	host := familiarHost(r.Context().RegistryStr())
	if ctx.Err() != nil || err != nil && transient(err) {
		return nil, c.explain(ctx, host, ref, err)
	}
	return nil, &Error{
		Kind: Corrupt, Host: host, Ref: ref, Err: err,
		Reason: fmt.Sprintf("gives other bytes for blob %s than its digest and size (%d) name", desc.Digest, desc.Size),
		Hint:   "its storage may be damaged: push the image again",
	}
}

// again repeats a read whose answer broke off in the middle of its body. What
// failed before that was repeated already.
func (c *Client) again(ctx context.Context, read func() error) error {
	operation := func() (struct{}, error) {
		err := read()
		var spent *spentError
		if err != nil && (errors.As(err, &spent) || ctx.Err() != nil || !transient(err)) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = c.backoff
	_, err := backoff.Retry(ctx, operation, backoff.WithBackOff(waits), backoff.WithMaxTries(uint(c.attempts)), backoff.WithMaxElapsedTime(0))
	return err
}

// OpenBlob streams a blob of the repository of ref. The digest is verified at
// the end: the last Read returns an error if it does not fit. The caller
// closes it.
func (c *Client) OpenBlob(ctx context.Context, ref string, digest godigest.Digest) (io.ReadCloser, error) {
	r, err := c.Parse(ref)
	if err != nil {
		return nil, err
	}
	if err := digest.Validate(); err != nil {
		return nil, fmt.Errorf("reading blob %q of %q: %w", digest, ref, err)
	}
	body, err := c.openBlob(ctx, r.Context(), digest)
	if err != nil {
		return nil, c.explain(ctx, familiarHost(r.Context().RegistryStr()), ref, err)
	}
	return body, nil
}

func (c *Client) openBlob(ctx context.Context, repo name.Repository, digest godigest.Digest) (io.ReadCloser, error) {
	// The empty blob of artifacts is known; some registries do not keep it.
	if digest == ocispecs.DescriptorEmptyJSON.Digest {
		return io.NopCloser(bytes.NewReader(ocispecs.DescriptorEmptyJSON.Data)), nil
	}
	layer, err := c.puller.Layer(ctx, repo.Digest(digest.String()))
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}
