package registry

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers lists the manifests that name the manifest at a reference by
// digest as their subject, from the referrers API or, where the registry has
// none, from the tag that stands for it
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema).
// The library reads one page of an answer.
func (c *Client) Referrers(ctx context.Context, ref string) ([]ocispecs.Descriptor, error) {
	r, err := c.Parse(ref)
	if err != nil {
		return nil, err
	}
	subject, ok := r.(name.Digest)
	if !ok {
		return nil, fmt.Errorf("listing what refers to %q: it is a tag; name a digest", ref)
	}
	found, err := remote.Referrers(subject, remote.WithContext(ctx), remote.Reuse(c.puller))
	if err != nil {
		return nil, c.explainRef(ctx, r, err)
	}
	raw, err := found.RawManifest()
	if err != nil {
		return nil, c.explainRef(ctx, r, err)
	}
	var list ocispecs.Index
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("listing what refers to %q: %w", ref, err)
	}
	return list.Manifests, nil
}
