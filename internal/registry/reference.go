package registry

import (
	"fmt"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	godigest "github.com/opencontainers/go-digest"
)

// Parse reads a reference by Docker's rules: "alpine" is
// docker.io/library/alpine:latest. A reference with both tag and digest means
// the digest.
func (c *Client) Parse(ref string) (name.Reference, error) {
	named, err := splitHost(ref)
	if err != nil {
		return nil, err
	}
	repo, err := c.repository(named)
	if err != nil {
		return nil, err
	}
	if digested, ok := named.(reference.Digested); ok {
		return repo.Digest(digested.Digest().String()), nil
	}
	if tagged, ok := named.(reference.Tagged); ok {
		return repo.Tag(tagged.Tag()), nil
	}
	return repo.Tag(name.DefaultTag), nil
}

// Repository returns a reference's repository in full, "docker.io/library/alpine".
func Repository(ref string) (string, error) {
	named, err := splitHost(ref)
	if err != nil {
		return "", err
	}
	return named.Name(), nil
}

// Tag returns a reference's tag, "latest" if it names none, and an error if it
// names a digest.
func Tag(ref string) (string, error) {
	named, err := splitHost(ref)
	if err != nil {
		return "", err
	}
	if _, ok := named.(reference.Digested); ok {
		return "", fmt.Errorf("reading tag %q: it is a digest, which cannot be moved; write REPOSITORY:TAG", ref)
	}
	if tagged, ok := named.(reference.Tagged); ok {
		return tagged.Tag(), nil
	}
	return name.DefaultTag, nil
}

// HostOf returns a reference's registry as users write it: "docker.io",
// "localhost:5000".
func HostOf(ref string) (string, error) {
	named, err := splitHost(ref)
	if err != nil {
		return "", err
	}
	return reference.Domain(named), nil
}

// At returns the reference of a digest in the repository of ref.
func At(ref string, digest godigest.Digest) (string, error) {
	if err := digest.Validate(); err != nil {
		return "", fmt.Errorf("reading digest %q: %w", digest, err)
	}
	repo, err := Repository(ref)
	if err != nil {
		return "", err
	}
	return repo + "@" + digest.String(), nil
}

func (c *Client) repository(named reference.Named) (name.Repository, error) {
	domain := reference.Domain(named)
	reg, err := c.registry(domain)
	if err != nil {
		return name.Repository{}, err
	}
	return reg.Repo(reference.Path(named)), nil
}

// registry takes the host by our rules of plain HTTP, which are stricter than
// the library's: those count private networks as plain too.
func (c *Client) registry(host string) (name.Registry, error) {
	var opts []name.Option
	if c.hosts.plainHTTP(host) {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(canonicalHost(host), opts...)
	if err != nil {
		return name.Registry{}, fmt.Errorf("reading registry %q: %w", host, err)
	}
	c.hosts.note(reg.RegistryStr())
	return reg, nil
}
