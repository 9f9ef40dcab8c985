package build

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/plan"
)

// solveOpt is everything BuildKit is asked for one build.
func solveOpt(b *plan.Build, bases map[string]Base, o Options) (*client.SolveOpt, error) {
	fa, err := attrs(b, o)
	if err != nil {
		return nil, err
	}
	so := &client.SolveOpt{
		Frontend:            "dockerfile.v0",
		FrontendAttrs:       fa,
		AllowedEntitlements: allowed(b.Spec),
		Exports:             exports(b, o),
	}
	if fa["source"] != "" {
		so.Frontend = "gateway.v0"
	}
	so.CacheImports, so.CacheExports = caches(b, o)
	if slices.Contains([]string{"1", "true"}, fa["build-arg:BUILDKIT_INLINE_CACHE"]) {
		so.CacheExports = append(so.CacheExports, client.CacheOptionsEntry{Type: "inline"})
	}
	if err := inputs(b, bases, so, o); err != nil {
		return nil, err
	}
	so.Session, err = attachables(b, o)
	return so, err
}

// attachables are what the daemon may ask the workstation for during a solve.
func attachables(b *plan.Build, o Options) ([]session.Attachable, error) {
	docker := config.LoadDefaultConfigFile(os.Stderr)
	out := []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: authprovider.LoadAuthConfig(docker),
	})}
	abs := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(o.Dir, p)
	}
	var secrets []secretsprovider.Source
	for _, s := range b.Spec.Secrets {
		src := secretsprovider.Source{ID: s["id"], FilePath: abs(s["src"]), Env: s["env"]}
		if src.Env != "" {
			if _, ok := o.LookupEnv(src.Env); !ok {
				return nil, fmt.Errorf("the secret %q of target %q: the environment variable %s is not set", src.ID, b.Target.Name, src.Env)
			}
		}
		secrets = append(secrets, src)
	}
	if len(secrets) > 0 {
		store, err := secretsprovider.NewStore(secrets)
		if err != nil {
			return nil, fmt.Errorf("the secrets of target %q: %w", b.Target.Name, flat(err))
		}
		out = append(out, secretsprovider.NewSecretProvider(store))
	}
	var agents []sshprovider.AgentConfig
	for _, s := range b.Spec.SSH {
		a := sshprovider.AgentConfig{ID: s["id"]}
		if s["paths"] != "" {
			for _, p := range strings.Split(s["paths"], ",") {
				a.Paths = append(a.Paths, abs(p))
			}
		}
		agents = append(agents, a)
	}
	if len(agents) == 0 && gitOverSSH(value(b.Spec.Context)) {
		agents = []sshprovider.AgentConfig{{ID: "default"}}
	}
	if len(agents) > 0 {
		p, err := sshprovider.NewSSHAgentProvider(agents)
		if err != nil {
			return nil, fmt.Errorf("the ssh keys of target %q: %w", b.Target.Name, flat(err))
		}
		out = append(out, p)
	}
	return out, nil
}

func gitOverSSH(context string) bool {
	return strings.HasPrefix(context, "ssh://") || (strings.HasPrefix(context, "git@") && Remote(context))
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
