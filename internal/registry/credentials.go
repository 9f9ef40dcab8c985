package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// DefaultKeychain finds credentials in Docker's configuration ($DOCKER_CONFIG
// or ~/.docker) and its credential helpers, then in podman's files
// ($REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR and ~/.config, each with
// containers/auth.json). The first that knows the registry wins, so a Docker
// configuration without credentials does not hide podman's.
var DefaultKeychain authn.Keychain = dockerKeychain{getenv: os.Getenv, home: os.UserHomeDir}

type dockerKeychain struct {
	getenv func(string) string
	home   func() (string, error)
}

// Resolve implements authn.Keychain.
func (k dockerKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	for _, path := range k.files() {
		cf, err := readConfig(path)
		if err != nil {
			return nil, err
		}
		if cf == nil {
			continue
		}
		auth, err := lookUp(cf, target)
		if err != nil {
			return nil, fmt.Errorf("asking the credential helper of %q: %w", path, err)
		}
		if auth != nil {
			return auth, nil
		}
	}
	return authn.Anonymous, nil
}

// files lists where credentials may stand, the first to be asked first.
func (k dockerKeychain) files() []string {
	home, err := k.home()
	if err != nil {
		home = ""
	}
	var files []string
	add := func(base string, parts ...string) {
		if base != "" {
			files = append(files, filepath.Join(append([]string{base}, parts...)...))
		}
	}
	if dir := k.getenv("DOCKER_CONFIG"); dir != "" {
		add(dir, "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(k.getenv("REGISTRY_AUTH_FILE"))
	add(k.getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir := k.getenv("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	return files
}

func readConfig(path string) (*configfile.ConfigFile, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	defer f.Close()
	cf, err := config.LoadFromReader(f)
	if err != nil {
		return nil, fmt.Errorf("reading credentials in %q: %w; correct the file or run docker login again", path, err)
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

// explainedKeychain says in words when credentials cannot be read.
type explainedKeychain struct{ next authn.Keychain }

// Resolve implements authn.Keychain.
func (k explainedKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements authn.ContextKeychain.
func (k explainedKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	auth, err := authn.Resolve(ctx, k.next, target)
	if err != nil {
		host := familiarHost(target.RegistryStr())
		return nil, &Error{
			Kind: Credentials, Host: host, Err: err,
			Reason: "cannot be given credentials: " + err.Error(),
			Hint:   "repair the credential helper (credsStore, credHelpers) in Docker's config.json, or run: docker login " + host,
		}
	}
	return auth, nil
}
