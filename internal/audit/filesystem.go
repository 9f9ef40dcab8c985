package audit

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/archmage-build/archmage/internal/reach"
	"github.com/archmage-build/archmage/internal/rootfs"
)

// mostListed is how many files one finding about many names.
const mostListed = 10

// judgeFiles looks for what deserves a note: rights and secrets.
func (j *judgment) judgeFiles(image *Image) {
	var raised []string
	var raisedAt *rootfs.Inode
	count := 0
	j.fs.Each(func(name string, n *rootfs.Inode) {
		image.Files++
		if n.Kind != rootfs.KindFile {
			return
		}
		if n.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 && n.Mode&0o111 != 0 {
			if raisedAt == nil {
				raisedAt = n
			}
			if count++; len(raised) < mostListed {
				raised = append(raised, name)
			}
		}
		if what := secretFile(name, n); what != "" && !j.found.rules.allowed(name) {
			j.add("", "secret", name, n, "it looks like %s", what)
		}
	})
	if count > 0 {
		f := about(j.node, "setuid", "%d files run with the rights of their owner or group", count)
		f.Path, f.Layer, f.Evidence = raised[0], j.fs.LayerOf(raisedAt), raised
		j.found.add(f)
	}
	for _, e := range j.config.Env {
		key, value, _ := strings.Cut(e, "=")
		if value != "" && secretName.MatchString(key) && !plain.MatchString(value) {
			j.found.add(about(j.node, "secret", "the environment variable %s is set in the image", key))
		}
	}
}

var (
	secretName = regexp.MustCompile(`(?i)(^|_)(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)$`)
	// plain are values that are no secrets: paths, switches, numbers.
	plain = regexp.MustCompile(`(?i)^(/.*|true|false|yes|no|[0-9]{1,4}|\$.*|<.*>)$`)
)

// secretFile says what secret a file seems to be, by its name or bytes.
func secretFile(name string, n *rootfs.Inode) string {
	if n.File != nil && n.File.Secret != "" {
		return n.File.Secret
	}
	switch base := path.Base(name); {
	case slices.Contains([]string{"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"}, base):
		return "a private key of SSH"
	case base == ".env" && strings.Count(name, "/") <= 3:
		return "a file of environment variables, which often hold secrets"
	case strings.HasSuffix(base, ".kdbx"):
		return "a password store"
	}
	return ""
}

// judgeUser compares the user and group of the image with its databases.
func (j *judgment) judgeUser() {
	if j.config.User == "" || j.incomplete != "" {
		return
	}
	user, group, _ := strings.Cut(j.config.User, ":")
	j.known(user, "user", "/etc/passwd", reach.Users(j.fs))
	j.known(group, "group", "/etc/group", reach.Groups(j.fs))
}

// known judges whether a name that runtimes look up is there.
func (j *judgment) known(name, what, file string, names []string) {
	if _, err := strconv.Atoi(name); name == "" || err == nil {
		return
	}
	n := j.fs.Lookup(file)
	switch {
	case n == nil && len(j.fs.Layers()) > 0:
		j.found.add(about(j.node, "user-missing", "it runs as the %s %q, and has no %s to find that in", what, name, file))
	case n == nil || n.File == nil:
		// It is empty, or a link to a name that was not looked into.
	case !slices.Contains(names, name):
		f := about(j.node, "user-missing", "it runs as the %s %q, which is not in %s", what, name, file)
		f.Path, f.Layer = file, j.fs.LayerOf(n)
		f.Evidence = []string{"the " + what + "s: " + strings.Join(names[:min(len(names), 50)], ", ")}
		j.found.add(f)
	}
}
