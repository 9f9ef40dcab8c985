package registry

import "context"

// Tags lists the tags of a repository, as "registry.example/app"; none where the
// registry does not have it.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	r, err := c.Parse(repository)
	if err != nil {
		return nil, err
	}
	ctx = c.operation(ctx)
	tags, err := c.puller.List(ctx, r.Context())
	if err != nil {
		err = c.explain(ctx, r.Context().RegistryStr(), repository, err)
		if IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	return tags, nil
}
