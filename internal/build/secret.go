package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"

	"github.com/archmage-build/archmage/internal/config"
)

// store holds secrets by id, as they were when the build began.
type store map[string][]byte

// GetSecret returns the secret of that id to the daemon.
func (s store) GetSecret(_ context.Context, id string) ([]byte, error) {
	v, ok := s[id]
	if !ok {
		return nil, fmt.Errorf("%w: the step asks for secret %q, the target has %q", secrets.ErrNotFound, id, slices.Sorted(maps.Keys(s)))
	}
	return v, nil
}

// readSecrets reads what the secret entries name. One that has neither src nor
// env is the environment variable or the file of its id, as in bake.
func readSecrets(list []config.Entry, o Options) (store, error) {
	found := store{}
	for _, e := range list {
		if err := onlyKeys(e, "id", "src", "env", "type"); err != nil {
			return nil, err
		}
		id, src, env := e["id"], e["src"], e["env"]
		if id == "" {
			return nil, errors.New("one has no id")
		}
		if src == "" && env == "" {
			if src = id; isSet(o, id) {
				src, env = "", id
			}
		}
		if env != "" {
			v, ok := o.LookupEnv(env)
			if !ok {
				return nil, fmt.Errorf("%q: the environment variable %s is not set", id, env)
			}
			found[id] = []byte(v)
			continue
		}
		data, err := os.ReadFile(absolute(o.Dir, src))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", id, err)
		}
		found[id] = data
	}
	for id, v := range found {
		if len(v) > secretsprovider.MaxSecretSize {
			return nil, fmt.Errorf("%q has %d bytes; BuildKit takes up to %d", id, len(v), secretsprovider.MaxSecretSize)
		}
	}
	return found, nil
}

func isSet(o Options, name string) bool {
	_, ok := o.LookupEnv(name)
	return ok
}

// agents are the SSH agents and keys that the ssh entries name.
func agents(list []config.Entry, o Options) (session.Attachable, error) {
	var found []sshprovider.AgentConfig
	for _, e := range list {
		if err := onlyKeys(e, "id", "paths"); err != nil {
			return nil, err
		}
		a := sshprovider.AgentConfig{ID: e["id"]}
		for _, p := range strings.Split(e["paths"], ",") {
			if p != "" {
				a.Paths = append(a.Paths, absolute(o.Dir, p))
			}
		}
		if socket, ok := o.LookupEnv("SSH_AUTH_SOCK"); ok && len(a.Paths) == 0 {
			a.Paths = []string{socket}
		}
		found = append(found, a)
	}
	p, err := sshprovider.NewSSHAgentProvider(found)
	if err != nil {
		return nil, fmt.Errorf("%w; start an ssh-agent, or name keys with ssh = [\"default=PATH\"]", flat(err))
	}
	return p, nil
}

// onlyKeys refuses keys that mean nothing here.
func onlyKeys(e config.Entry, known ...string) error {
	for _, k := range slices.Sorted(maps.Keys(e)) {
		if !slices.Contains(known, k) {
			return fmt.Errorf("%s has the unknown key %q; these are known: %s", e, k, strings.Join(known, ", "))
		}
	}
	return nil
}

func gitOverSSH(context string, o Options) bool {
	return strings.HasPrefix(context, "ssh://") || (strings.HasPrefix(context, "git@") && remote(o.Dir, context))
}
