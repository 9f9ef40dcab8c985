package worker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/auth/authprovider"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/oci"
)

// Auth lets the daemon log in to the registries of the named repositories, as
// this machine would, for one session. A daemon may be shared: it is given
// nothing for any other host. Where one host has several logins, a request that
// names no repository gets that of the first repository with one.
func (w *Worker) Auth(repositories ...string) session.Attachable {
	a := &authServer{store: w.credentials, plain: w.plainHTTP, repositories: repositories}
	a.AuthServer = authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: a.config}).(auth.AuthServer)
	return a
}

// authServer is BuildKit's own, but for what it gives to whom.
type authServer struct {
	auth.AuthServer
	store        *credential.Store
	plain        func(host string) bool
	repositories []string
}

// Register implements session.Attachable.
func (a *authServer) Register(s *grpc.Server) { auth.RegisterAuthServer(s, a) }

func (a *authServer) config(_ context.Context, host string, scopes []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
	var none types.AuthConfig
	own := a.of(host)
	if len(own) == 0 {
		return none, nil
	}
	for _, name := range append(named(host, scopes), own...) {
		l, err := a.store.Lookup(name)
		if err != nil {
			return none, status.Error(codes.FailedPrecondition, err.Error())
		}
		if l.Found() {
			return types.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken, RegistryToken: l.RegistryToken}, nil
		}
		if len(scopes) > 0 { // never another repository's
			break
		}
	}
	return none, nil
}

// of are the session's repositories on a host.
func (a *authServer) of(host string) []string {
	var own []string
	for _, repo := range a.repositories {
		if of, _, _ := strings.Cut(repo, "/"); oci.SameRegistry(of, host) {
			own = append(own, repo)
		}
	}
	return own
}

// named are the repositories of scopes such as "repository:acme/app:pull,push",
// those to push to first.
func named(host string, scopes []string) []string {
	var push, pull []string
	for _, scope := range scopes {
		parts := strings.Split(scope, ":")
		if len(parts) != 3 || parts[0] != "repository" {
			continue
		}
		if pushes(scope) {
			push = append(push, host+"/"+parts[1])
		} else {
			pull = append(pull, host+"/"+parts[1])
		}
	}
	return append(push, pull...)
}

func pushes(scope string) bool {
	actions := scope[strings.LastIndexByte(scope, ':')+1:]
	return slices.Contains(strings.Split(actions, ","), "push") || actions == "*"
}

// FetchToken asks a token service for the daemon, which does not see the login.
func (a *authServer) FetchToken(ctx context.Context, req *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	if err := a.checkRealm(req.Host, req.Realm); err != nil {
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	resp, err := a.AuthServer.FetchToken(ctx, req)
	if err == nil || len(req.Scopes) < 2 || ctx.Err() != nil {
		return resp, err
	}
	// Some services refuse a token for two repositories, which a mount from one
	// to the other asks for. Without it the blob is uploaded.
	one := &auth.FetchTokenRequest{ClientID: req.ClientID, Host: req.Host, Realm: req.Realm, Service: req.Service}
	if i := slices.IndexFunc(req.Scopes, pushes); i >= 0 {
		one.Scopes = req.Scopes[i : i+1]
	} else {
		one.Scopes = req.Scopes[:1]
	}
	if resp, oneErr := a.AuthServer.FetchToken(ctx, one); oneErr == nil {
		return resp, nil
	}
	return nil, err
}

// checkRealm refuses a token service that a registry or daemon has no business
// to name: it is sent the login, from this machine.
func (a *authServer) checkRealm(host, realm string) error {
	u, err := url.Parse(realm)
	if err != nil || u.Host == "" {
		return errors.New("the token service that the registry names is no URL")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !a.plainAllowed(host)) {
		return fmt.Errorf("the registry %q names a token service at %s://%s: only https is allowed", host, u.Scheme, u.Host)
	}
	name := u.Hostname()
	if ip, err := netip.ParseAddr(name); err == nil && name != oci.Hostname(host) &&
		(ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()) {
		return fmt.Errorf("the registry %q names a token service at the private address %s", host, name)
	}
	return nil
}

func (a *authServer) plainAllowed(host string) bool {
	return oci.Loopback(host) || a.plain != nil && a.plain(host)
}
