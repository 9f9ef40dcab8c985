package release

import (
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

// mask hides secrets in text. The longest come first.
type mask []string

// masked stands for a secret, as BuildKit writes it.
const masked = "*****"

// minSecret is how long a value must be to be hidden wherever it stands, in
// bytes: "1" and "true" are in every log.
const minSecret = 4

// secretName matches environment variables that hold secrets by their names.
var secretName = regexp.MustCompile(`(?i)(^|_)(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|PRIVATE_?KEY|(API|ACCESS|SECRET|AUTH)_?KEY)$`)

// secrets are what a hook must not show: the secrets of the targets, the
// password of the signing key, the credentials of the registries, and variables
// of the environment that are secret by their names.
func (w *Workspace) secrets(p *plan.Plan) mask {
	var found []string
	for _, t := range p.Targets {
		for _, e := range t.Spec.Secrets {
			found = append(found, w.secret(e)...)
		}
	}
	if s := p.Release.Sign; s != nil {
		found = append(found, w.Getenv(s.PasswordEnv), w.Getenv("COSIGN_PASSWORD"))
	}
	logins := w.logins()
	for _, host := range p.Hosts() {
		for _, name := range append(repositories(p, host), host) {
			if l, err := logins.Lookup(name); err == nil {
				found = append(found, l.Password, l.IdentityToken, l.RegistryToken)
			}
		}
	}
	for _, kv := range w.Environ {
		if name, value, _ := strings.Cut(kv, "="); secretName.MatchString(name) {
			found = append(found, value)
		}
	}
	var m mask
	for _, value := range found {
		// Output is read line by line.
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= minSecret {
				m = append(m, line)
			}
		}
	}
	slices.SortFunc(m, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(m)
}

// secret are the values that an entry of `secret` may have.
func (w *Workspace) secret(e config.Entry) []string {
	var out []string
	for _, name := range []string{e["env"], e["id"]} {
		if v, ok := w.LookupEnv(name); ok && name != "" {
			out = append(out, v)
		}
	}
	for _, path := range []string{e["src"], e["id"]} {
		if path == "" {
			continue
		}
		if data, err := os.ReadFile(w.absolute(path)); err == nil {
			out = append(out, string(data))
		}
	}
	return out
}

// lines hides secrets in each line of a text.
func (m mask) lines(text string) string {
	all := strings.Split(text, "\n")
	for i, l := range all {
		all[i] = m.line(l)
	}
	return strings.Join(all, "\n")
}

// line hides secrets in a line, and what is left of one where the line was cut.
func (m mask) line(text string) string {
	for _, s := range m {
		text = strings.ReplaceAll(text, s, masked)
	}
	body, cut := strings.CutSuffix(text, " …")
	if !cut {
		return text
	}
	for _, s := range m {
		for n := min(len(s), len(body)); n >= minSecret; n-- {
			if rest, ok := strings.CutSuffix(body, s[:n]); ok {
				return rest + masked + " …"
			}
		}
	}
	return text
}
