package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// probeTime bounds each silence of a registry in Ping and CheckPush: what does not
// answer in it will not carry a release.
const probeTime = 10 * time.Second

// Ping asks whether a registry answers at host ("localhost:5000"), over the
// scheme that was declared. Whether it wants credentials is not asked:
// CheckPush does.
func (c *Client) Ping(ctx context.Context, host string) error {
	reg, err := c.registry(host)
	if err != nil {
		return err
	}
	probe, end := c.probe(ctx)
	defer end()
	if _, err := transport.Ping(probe, reg, c.transport); err != nil {
		return c.explain(ctx, host, "", silent(probe, err))
	}
	return nil
}

// silent is err, or that no answer came in time.
func silent(probe context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(probe), errSilent) {
		return context.DeadlineExceeded
	}
	return err
}

// CheckPush asks whether the credentials at hand may pull from and push to the
// repository of a reference, by opening an upload and cancelling it: a token
// alone proves nothing at Docker Hub.
func (c *Client) CheckPush(ctx context.Context, ref string) error {
	r, err := c.Parse(ref)
	if err != nil {
		return err
	}
	repo := r.Context()
	probe, end := c.probe(ctx)
	defer end()
	if err := c.checkPush(probe, repo); err != nil {
		return c.explain(ctx, familiarHost(repo.RegistryStr()), familiarName(repo), silent(probe, err))
	}
	return nil
}

// familiarName is a repository as a user writes it.
func familiarName(repo name.Repository) string {
	return familiarHost(repo.RegistryStr()) + "/" + repo.RepositoryStr()
}

func (c *Client) checkPush(ctx context.Context, repo name.Repository) error {
	auth, err := authn.Resolve(ctx, c.keychain, repo)
	if err != nil {
		return err
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, c.transport, []string{repo.Scope(transport.PushScope)})
	if err != nil {
		return err
	}
	client := &http.Client{Transport: rt, CheckRedirect: followReads}
	address := fmt.Sprintf("%s://%s/v2/%s/blobs/uploads/", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusAccepted, http.StatusCreated); err != nil {
		return err
	}
	at := uploadAt(req.URL, resp)
	if at == nil {
		return nil
	}
	if req, err := http.NewRequestWithContext(ctx, http.MethodDelete, at.String(), http.NoBody); err == nil {
		if resp, err := client.Do(req); err == nil {
			drain(resp)
		}
	}
	return nil
}

// uploadAt is where an upload that was opened can be cancelled; nil where the
// registry names nothing, or something that is no upload of its own: nobody
// else gets a DELETE at its word. What is not cancelled expires by itself.
func uploadAt(asked *url.URL, resp *http.Response) *url.URL {
	at, err := resp.Location()
	if err != nil || at.Host != asked.Host || at.User != nil ||
		!strings.HasPrefix(at.Path, "/v2/") || !strings.Contains(at.Path, "/blobs/uploads/") || path.Clean(at.Path) != strings.TrimSuffix(at.Path, "/") {
		return nil
	}
	at.Scheme = asked.Scheme // a registry behind a TLS proxy may not know its own
	return at
}

// followReads follows redirects as net/http does, but for those of a DELETE.
func followReads(_ *http.Request, via []*http.Request) error {
	const most = 10 // as in net/http
	if len(via) >= most || via[0].Method == http.MethodDelete {
		return http.ErrUseLastResponse
	}
	return nil
}

// isPage tells whether an answer to the registry API is a web page: what
// listens there is no registry, though it says 200.
func isPage(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK &&
		strings.HasPrefix(resp.Request.URL.Path, "/v2/") &&
		!strings.Contains(resp.Request.URL.Path, "/blobs/") &&
		strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
}
