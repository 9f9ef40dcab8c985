// Package credential finds what this machine has to log in to a registry with,
// for every part of the program that talks to one.
package credential

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"

	"github.com/archmage-build/archmage/internal/oci"
)

// Login is what a registry takes. The zero value means that there is none.
type Login struct {
	Username, Password string
	// IdentityToken is used instead of a password where the registry issued one.
	IdentityToken string
	// RegistryToken is a bearer token, sent as it is.
	RegistryToken string

	// Key is what the login stands under: a host, or a host with the first
	// parts of a repository's path.
	Key string
	// Source is where it stands: a path or the name of a variable, with the
	// helper that gave it.
	Source string
}

// Found reports whether there is a login.
func (l Login) Found() bool {
	return l.Username != "" || l.Password != "" || l.IdentityToken != "" || l.RegistryToken != ""
}

// String tells whose login it is and where it stands, without what is secret.
func (l Login) String() string {
	if !l.Found() {
		return "without a login"
	}
	who := l.Username
	if who == "" {
		who = "the holder of a token"
	}
	return fmt.Sprintf("as %s (%s in %s)", who, l.Key, l.Source)
}

// GoString keeps the secret out of %#v.
func (l Login) GoString() string { return l.String() }

// Error reports a place that should hold logins and cannot be read, or a helper
// that failed.
type Error struct {
	// Source is the file or variable.
	Source string
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("reading the logins in %s: %v", e.Source, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Store looks logins up. The zero value has none. Files are read at each
// question, so that a login in another terminal counts.
type Store struct {
	getenv func(string) string
	files  []string
	own    func(host string) Login
}

// New returns a store of the places of Docker and podman: the variable
// DOCKER_AUTH_CONFIG, Docker's configuration ($DOCKER_CONFIG or ~/.docker), then
// podman's files ($REGISTRY_AUTH_FILE, and containers/auth.json in
// $XDG_RUNTIME_DIR and in $XDG_CONFIG_HOME or ~/.config). None of them need
// exist.
func New(getenv func(string) string) *Store {
	return &Store{getenv: getenv, files: places(getenv)}
}

// OfFiles returns a store of files in Docker's form, the first to be asked first.
func OfFiles(files ...string) *Store { return &Store{files: files} }

// WithOwn returns the store with what own gives for a host of this machine's
// counting before everything else; a Login that was not found is passed over.
func (s *Store) WithOwn(own func(host string) Login) *Store {
	with := *s
	with.own = own
	return &with
}

// Lookup returns the login for a registry ("ghcr.io") or a repository
// ("ghcr.io/acme/app"). The first place with an entry that fits counts, and in it
// the entry of the longest name: the repository, a namespace that it lies in, the
// host. A helper of that name is asked before the entry itself. What stands under
// another namespace is never taken.
func (s *Store) Lookup(name string) (Login, error) {
	if s == nil {
		return Login{}, nil
	}
	keys := prefixes(name)
	if s.own != nil {
		if l := s.own(keys[len(keys)-1]); l.Found() {
			return l, nil
		}
	}
	sources, err := s.sources()
	for _, src := range sources {
		l, err := src.lookup(keys)
		if err != nil {
			return Login{}, &Error{Source: src.name, Err: err}
		}
		if l.Found() {
			return l, nil
		}
	}
	return Login{}, err // of the place after the last that could be read
}

// prefixes are the names that a login may stand under, the longest first.
func prefixes(name string) []string {
	name = normalize(name)
	keys := []string{name}
	for {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return keys
		}
		name = name[:i]
		keys = append(keys, name)
	}
}

// normalize writes a key of a file, or a registry or repository, in one way: no
// scheme, no version of the API, the host in lower case, Docker Hub as
// "docker.io".
func normalize(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, path, _ := strings.Cut(key, "/")
	host, path = oci.RegistryName(host), strings.Trim(path, "/")
	if path == "" || path == "v1" || path == "v2" {
		return host
	}
	return host + "/" + path
}

// OfRepository is a reference's repository in full, for Lookup: "alpine:3" gives
// "docker.io/library/alpine".
func OfRepository(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("reading reference %q: %w", ref, err)
	}
	return named.Name(), nil
}

// source is the content of a file or variable.
type source struct {
	name string
	// auths and helpers are by normalized key.
	auths   map[string]auth
	helpers map[string]helper
	// store is the helper for all keys.
	store string
}

type helper struct{ name, key string }

// auth is an entry of a file. Docker leaves an empty one where a helper keeps
// the login.
type auth struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`

	key string
}

func (s *source) lookup(keys []string) (Login, error) {
	for _, key := range keys {
		h, byKey := s.helpers[key]
		entry, listed := s.auths[key]
		isHost := !strings.Contains(key, "/")
		if !byKey && s.store != "" && (listed || isHost) {
			h, byKey = helper{s.store, key}, true
			if listed {
				h.key = entry.key
			}
			if key == "docker.io" {
				h.key = hubKey
			}
		}
		if byKey {
			l, err := h.ask()
			if err != nil {
				return Login{}, err
			}
			if l.Found() {
				l.Key, l.Source = key, s.name+", helper docker-credential-"+h.name
				return l, nil
			}
		}
		if !listed {
			continue
		}
		l, err := entry.login()
		if err != nil {
			return Login{}, err
		}
		if l.Found() {
			l.Key, l.Source = key, s.name
			return l, nil
		}
	}
	return Login{}, nil
}

// hubKey is what Docker and its helpers keep the login to Docker Hub under.
const hubKey = "https://index.docker.io/v1/"

// ask runs the helper, by Docker's protocol. A helper that knows no login for the
// key gives none.
func (h helper) ask() (Login, error) {
	// The store merges what a file says of the key; this file says nothing.
	found, err := credentials.NewNativeStore(configfile.New(""), h.name).Get(h.key)
	if err != nil {
		return Login{}, fmt.Errorf("asking the credential helper docker-credential-%s for %q: %w", h.name, h.key, err)
	}
	return fromDocker(found), nil
}

func fromDocker(a types.AuthConfig) Login {
	return Login{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}

func (a auth) login() (Login, error) {
	l := Login{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if a.Auth == "" {
		return l, nil
	}
	text, err := base64.StdEncoding.DecodeString(a.Auth)
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok || user == "" {
		// Not the decoder's words: they would hold a part of the secret.
		return Login{}, errors.New(`the "auth" of "` + a.key + `" is not the base64 of USER:PASSWORD`)
	}
	l.Username, l.Password = user, strings.Trim(password, "\x00")
	return l, nil
}
