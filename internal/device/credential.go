package device

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Credential is what a registry host takes.
type Credential struct {
	Username string
	Password string
	// IdentityToken is used instead of the password where the registry issued one.
	IdentityToken string
}

// lendScript leaves a configuration directory in $lent, in memory and for the
// user alone, for as long as the script runs. The text goes over standard
// input, never on a command line.
const lendScript = `
umask 077
lent=
for m in "$XDG_RUNTIME_DIR" /dev/shm /run/shm; do
  [ -n "$m" ] && [ -w "$m" ] && lent=$(mktemp -d "$m/archmage.XXXXXX" 2>/dev/null) && break
done
[ -n "$lent" ] || { echo 'no directory in memory to keep a credential in (XDG_RUNTIME_DIR, /dev/shm)' >&2; exit 72; }
trap 'rm -rf "$lent"' EXIT
ln -s "${DOCKER_CONFIG:-$HOME/.docker}/contexts" "$lent/contexts"
cat >"$lent/config.json" <<'%[1]s'
%[2]s
%[1]s
`

// lend gives the part of a script that lends the credential for a repository on
// a host, or "" where there is none to lend.
func (d *Device) lend(ctx context.Context, f *Facts, host, repository string) (string, error) {
	if !d.Spec.LendCredentials || d.opts.Credential == nil || d.Local() {
		return "", nil
	}
	c, ok, err := d.opts.Credential(ctx, repository)
	if err != nil {
		return "", fmt.Errorf("looking up the credential of %q: %w", repository, err)
	}
	if !ok {
		return "", nil
	}
	if host == "docker.io" {
		host = "https://index.docker.io/v1/" // the key that docker and podman look for
	}
	entry := map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))}
	if c.IdentityToken != "" {
		entry["identitytoken"] = c.IdentityToken
	}
	file := map[string]any{"auths": map[string]any{host: entry}}
	if c := f.engine.context; c != "" && c != "default" {
		file["currentContext"] = c // the same engine as every other command's
	}
	text, err := json.Marshal(file)
	if err != nil {
		return "", fmt.Errorf("encoding the credential of %q: %w", host, err)
	}
	return fmt.Sprintf(lendScript, "ARCHMAGE_END", text), nil
}
