package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// CredentialFiles lists where credentials may stand, the first to be asked
// first: Docker's configuration ($DOCKER_CONFIG or ~/.docker), then podman's
// files ($REGISTRY_AUTH_FILE, and containers/auth.json in $XDG_RUNTIME_DIR and
// $XDG_CONFIG_HOME or ~/.config). The files need not exist.
func CredentialFiles(getenv func(string) string) []string {
	home := getenv("HOME")
	if home == "" {
		home = getenv("USERPROFILE")
	}
	var files []string
	add := func(base string, parts ...string) {
		if base != "" {
			files = append(files, filepath.Join(append([]string{base}, parts...)...))
		}
	}
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		add(dir, "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(getenv("REGISTRY_AUTH_FILE"))
	add(getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir := getenv("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	return files
}

// fileKeychain asks files in Docker's form, and the credential helpers they
// name. The first that knows the registry wins, so a Docker configuration
// without credentials does not hide podman's. They are read each time: a login
// in another terminal counts.
type fileKeychain struct{ files []string }

// Resolve implements authn.Keychain.
func (k fileKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	for _, path := range k.files {
		cf, err := readConfig(path)
		if err != nil {
			return nil, explainCredentials(target, err)
		}
		if cf == nil {
			continue
		}
		auth, err := lookUp(cf, target)
		if err != nil {
			return nil, explainCredentials(target, fmt.Errorf("asking the credential helper of %q: %w", path, err))
		}
		if auth != nil {
			return auth, nil
		}
	}
	return authn.Anonymous, nil
}

// Credential returns what this machine has to log in to a registry with, to be
// lent to another; ok is false where there is nothing.
func (c *Client) Credential(host string) (username, password, identityToken string, ok bool, err error) {
	reg, err := name.NewRegistry(host)
	if err != nil {
		return "", "", "", false, fmt.Errorf("looking for credentials of %q: %w", host, err)
	}
	auth, err := c.keychain.Resolve(reg)
	if err != nil || auth == authn.Anonymous {
		return "", "", "", false, err
	}
	cfg, err := auth.Authorization()
	if err != nil {
		return "", "", "", false, fmt.Errorf("reading credentials of %q: %w", host, err)
	}
	return cfg.Username, cfg.Password, cfg.IdentityToken, true, nil
}

func readConfig(path string) (*configfile.ConfigFile, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	defer func() { _ = f.Close() }()
	cf, err := config.LoadFromReader(f)
	if err != nil {
		return nil, fmt.Errorf("reading credentials in %q: %w", path, err)
	}
	return cf, nil
}

// lookUp asks for the repository's own credentials first, which podman allows,
// then for the registry's. It returns nil if there are none.
func lookUp(cf *configfile.ConfigFile, target authn.Resource) (authn.Authenticator, error) {
	for _, key := range []string{target.String(), target.RegistryStr()} {
		if canonicalHost(key) == "index.docker.io" {
			key = authn.DefaultAuthKey
		}
		found, err := cf.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		found.ServerAddress = "" // set even when nothing was found
		if found == (types.AuthConfig{}) {
			continue
		}
		return authn.FromConfig(authn.AuthConfig{
			Username:      found.Username,
			Password:      found.Password,
			Auth:          found.Auth,
			IdentityToken: found.IdentityToken,
			RegistryToken: found.RegistryToken,
		}), nil
	}
	return nil, nil
}

func explainCredentials(target authn.Resource, err error) error {
	host := familiarHost(target.RegistryStr())
	return &Error{
		Kind: Credentials, Host: host, Err: err,
		Reason: "cannot be given credentials: " + err.Error(),
		Hint:   "repair the file or its helper (credsStore, credHelpers), or run: docker login " + host,
	}
}
