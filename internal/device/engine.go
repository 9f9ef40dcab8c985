package device

import (
	"slices"

	"github.com/archmage-build/archmage/internal/config"
)

// engine is how the container runtime of a device is called.
type engine struct {
	// program is its path, "" for that of Facts.Runtime in PATH.
	program string
	// sudo runs it as root, without a question.
	sudo bool
	// endpoint is the socket of a Docker Engine that neither the environment nor
	// a context names; "" for none.
	endpoint string
	// context is Docker's current one, by name.
	context string
}

// caller is what stands before the runtime's program in every command.
func (f *Facts) caller() []string {
	switch {
	case f.engine.sudo:
		return []string{"sudo", "-n"}
	case f.engine.endpoint != "":
		return []string{"env", "DOCKER_HOST=" + f.engine.endpoint}
	}
	return nil
}

func (f *Facts) program() string {
	if f.engine.program != "" {
		return f.engine.program
	}
	return f.Runtime
}

// command is a shell's command of the runtime.
func (f *Facts) command(args ...string) string {
	return quote(slices.Concat(f.caller(), []string{f.program()}, args)...)
}

// pullCommand is the shell's command that pulls an image, with the lent login in
// $lent where there is one. Where the command is given by sudo the environment is
// not handed on, so it is options that say where the login is.
func (f *Facts) pullCommand(req PullRequest, lent, insecure bool) string {
	words, options := f.command(), []string{"pull", "--quiet"}
	switch f.Runtime {
	case "docker":
		if lent {
			words += ` --config "$lent"`
		}
	case "podman":
		if insecure {
			options = append(options, "--tls-verify=false")
		}
		if lent {
			return words + " " + quote(options...) + ` --authfile "$lent/config.json" ` + quote(req.Ref)
		}
	case "nerdctl":
		if lent {
			words = quote(append(f.caller(), "env")...) + ` DOCKER_CONFIG="$lent" ` + quote(f.program())
		}
		options = append(options, "--platform", config.FormatPlatform(req.Platform))
		if insecure {
			options = append(options, "--insecure-registry")
		}
	}
	return words + " " + quote(append(options, req.Ref)...)
}

// usualPlaces are where runtimes lie that no login without a terminal has in its
// PATH, the user's own first: rootless installs, Docker Desktop, OrbStack, Rancher
// Desktop, Homebrew, snap, NixOS, Synology, QNAP.
const usualPlaces = `"$HOME/bin" "$HOME/.local/bin" "$HOME/.docker/bin" "$HOME/.orbstack/bin" "$HOME/.rd/bin" "$HOME/.nix-profile/bin"` +
	` /usr/local/bin /usr/bin /bin /usr/local/sbin /usr/sbin /sbin /snap/bin` +
	` /opt/homebrew/bin /opt/local/bin /opt/bin /opt/podman/bin /Applications/Docker.app/Contents/Resources/bin /run/current-system/sw/bin` +
	` /var/packages/ContainerManager/target/usr/bin /var/packages/Docker/target/usr/bin` +
	` /share/*/.qpkg/container-station/bin /share/*/.qpkg/container-station/usr/bin`
