package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Untag removes a tag and leaves the manifest that it named
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#deleting-tags).
// A tag that does not exist is removed already. A registry that does not
// remove tags gives an Error of kind Unsupported.
func (c *Client) Untag(ctx context.Context, ref string) error {
	r, err := c.Parse(ref)
	if err != nil {
		return err
	}
	if _, ok := r.(name.Tag); !ok {
		return fmt.Errorf("removing tag %q: it is a digest, and manifests are never removed", ref)
	}
	ctx = c.operation(ctx)
	err = c.pusher.Delete(ctx, r)
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusNotFound:
			return nil
		case http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusForbidden, http.StatusNotImplemented, http.StatusUnauthorized:
			host := familiarHost(r.Context().RegistryStr())
			return &Error{
				Kind: Unsupported, Host: host, Ref: ref, Err: err,
				Reason: fmt.Sprintf("does not remove the tag: it answers %d %s%s", answer.StatusCode, http.StatusText(answer.StatusCode), words(answer)),
				Hint:   "remove it by the registry's own means, or let its administrator allow it",
			}
		}
	}
	if err != nil {
		return c.explainRef(ctx, r, err)
	}
	return nil
}
