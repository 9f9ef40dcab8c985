package registry

import (
	"errors"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/archmage-build/archmage/internal/credential"
)

// keychain is a store of logins in the form the library asks for.
type keychain struct{ store *credential.Store }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	l, err := k.store.Lookup(target.String())
	if err != nil {
		return nil, CredentialError(familiarHost(target.RegistryStr()), err)
	}
	if !l.Found() {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken, RegistryToken: l.RegistryToken,
	}), nil
}

// CredentialError is an Error about the logins of this machine, which could not
// be read for a host.
func CredentialError(host string, err error) error {
	hint := "run: docker login " + host
	var e *credential.Error
	if errors.As(err, &e) {
		hint = "correct " + e.Source + ", its credsStore and credHelpers too, then " + hint
	}
	return &Error{Kind: Credentials, Host: host, Err: err, Reason: "cannot be given credentials: " + line(err.Error()), Hint: hint}
}
