package build

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/plan"
)

// frontendOpt is what BuildKit is asked for one build, without what only a solve
// needs: it is what the build's inputs are read from. The directories of its
// local mounts come with it, by name.
func frontendOpt(b *plan.Build, bases map[string]Base, o Options) (*client.SolveOpt, map[string]string, error) {
	fa, err := attrs(b, o)
	if err != nil {
		return nil, nil, err
	}
	addProxies(fa, o.Docker)
	so := &client.SolveOpt{
		Frontend:             "dockerfile.v0",
		FrontendAttrs:        fa,
		CompatibilityVersion: compatibility,
		// The release has a record of its own; the daemon's takes it as long as
		// building and pushing a small image.
		Internal: true,
	}
	if so.AllowedEntitlements, err = allowed(b.Spec); err != nil {
		return nil, nil, err
	}
	if so.Exports, err = exports(b, o); err != nil {
		return nil, nil, err
	}
	if fa["source"] != "" {
		so.Frontend = "gateway.v0"
	}
	if slices.Contains([]string{"1", "true"}, fa["build-arg:BUILDKIT_INLINE_CACHE"]) {
		so.CacheExports = append(so.CacheExports, client.CacheOptionsEntry{Type: "inline"})
	}
	dirs, err := mounts(b, bases, so, o)
	return so, dirs, err
}

// solveOpt is everything BuildKit is asked for one build.
func solveOpt(b *plan.Build, bases map[string]Base, o Options) (*client.SolveOpt, error) {
	so, _, err := frontendOpt(b, bases, o)
	if err != nil {
		return nil, err
	}
	imports, exports, err := caches(b, o)
	if err != nil {
		return nil, err
	}
	so.CacheImports, so.CacheExports = imports, append(exports, so.CacheExports...)
	files, err := fileExports(b, o)
	if err != nil {
		return nil, err
	}
	// The answer holds what the last exporter of an image says of it.
	so.Exports = append(files, so.Exports...)
	so.Session, err = attachables(b, o)
	return so, err
}

// addProxies gives the build the proxies of Docker's configuration, as docker
// does, where the target's args do not name them. They are no part of what a
// build is, neither for BuildKit's cache nor for ours.
func addProxies(fa map[string]string, docker *configfile.ConfigFile) {
	if docker == nil {
		return
	}
	for k, v := range docker.ParseProxyConfig("", nil) {
		if _, ok := fa["build-arg:"+k]; !ok && v != nil {
			fa["build-arg:"+k] = *v
		}
	}
}

// logins are what the daemon may have logins for: where it pushes to first, then
// what it reads.
func logins(b *plan.Build, opt *client.SolveOpt, named []string, o Options) []string {
	refs := append([]string{b.Repository}, named...)
	for _, c := range slices.Concat(opt.CacheImports, opt.CacheExports) {
		if c.Type == "registry" {
			refs = append(refs, c.Attrs["ref"])
		}
	}
	var out []string
	for _, ref := range refs {
		if repo, err := credential.OfRepository(ref); err == nil {
			out = append(out, repo)
		}
	}
	return append(out, o.Logins...)
}

// attachables are what the daemon may ask the workstation for during a solve,
// but for logins.
func attachables(b *plan.Build, o Options) ([]session.Attachable, error) {
	var out []session.Attachable
	if len(b.Spec.Secrets) > 0 {
		found, err := readSecrets(b.Spec.Secrets, o)
		if err != nil {
			return nil, fmt.Errorf("the secrets of target %q: %w", b.Target.Name, err)
		}
		out = append(out, secretsprovider.NewSecretProvider(found))
	}
	keys := b.Spec.SSH
	if len(keys) == 0 && gitOverSSH(value(b.Spec.Context), o) {
		keys = []config.Entry{{"id": "default"}}
	}
	if len(keys) > 0 {
		found, err := agents(keys, o)
		if err != nil {
			return nil, fmt.Errorf("the ssh keys of target %q: %w", b.Target.Name, err)
		}
		out = append(out, found)
	}
	return out, nil
}

// pushed reads the descriptor out of the exporter's answer. The keys are
// documented at https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file.
func pushed(resp map[string]string) (ocispecs.Descriptor, error) {
	var desc ocispecs.Descriptor
	raw, err := base64.StdEncoding.DecodeString(resp[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return desc, fmt.Errorf("decoding the descriptor: %w", err)
	}
	if err := json.Unmarshal(raw, &desc); err != nil {
		return desc, fmt.Errorf("decoding the descriptor: %w", err)
	}
	if got := resp[exptypes.ExporterImageDigestKey]; got != "" && digest.Digest(got) != desc.Digest {
		return desc, fmt.Errorf("the daemon names two digests: %s and %s", got, desc.Digest)
	}
	if err := desc.Digest.Validate(); err != nil {
		return desc, fmt.Errorf("the digest %q: %w", desc.Digest, err)
	}
	return desc, nil
}
