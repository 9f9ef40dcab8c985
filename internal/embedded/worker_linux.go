package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func (m *Machine) startWorker(ctx context.Context) (Daemon, error) {
	rootless := os.Getuid() != 0
	daemon := Buildkitd
	if rootless {
		daemon = Rootlesskit
	}
	program, err := m.path(daemon)
	if err != nil {
		return Daemon{}, err
	}
	if d, ok := m.running(ctx, workerName, program, accepts); ok {
		return d, nil
	}

	if rootless {
		if err := usableNamespaces(); err != nil {
			return Daemon{}, fmt.Errorf("starting worker: %w", err)
		}
		if _, err := m.Part(ctx, Rootlesskit); err != nil {
			return Daemon{}, err
		}
	}
	runc, err := m.runtime(ctx)
	if err != nil {
		return Daemon{}, err
	}
	buildkitd, err := m.Part(ctx, Buildkitd)
	if err != nil {
		return Daemon{}, err
	}

	release, err := lock(ctx, m.lockFile(workerName), func() {
		m.report(Event{Subject: workerName, Phase: Waiting, Detail: "another process starts or ends it"})
	})
	if err != nil {
		return Daemon{}, err
	}
	defer release()
	if d, ok, err := m.settle(ctx, workerName, program, accepts); ok || err != nil {
		return d, err
	}

	// What a worker that was killed has left would hold the new one up.
	if err := m.sweep(ctx); err != nil {
		return Daemon{}, err
	}
	for _, dir := range []string{m.Dirs.State, m.Dirs.Run, m.workerRoot(), m.workerTemp()} {
		if err := private(dir); err != nil {
			return Daemon{}, err
		}
	}
	config := workerConfig{
		root: m.workerRoot(), rootless: rootless, runc: runc,
		socket: filepath.Join(m.Dirs.Run, "buildkitd.sock"),
		otel:   filepath.Join(m.Dirs.Run, "otel.sock"),
	}
	configFile := filepath.Join(m.Dirs.State, "buildkitd.toml")
	if err := os.WriteFile(configFile, []byte(config.toml()), 0o600); err != nil {
		return Daemon{}, fmt.Errorf("configuring worker: %w", err)
	}
	l := launch{
		name:    workerName,
		program: program,
		args:    []string{"--config", configFile},
		env:     daemonEnv(m.Environ, "TMPDIR="+m.workerTemp(), "XDG_RUNTIME_DIR="+m.Dirs.Run),
		address: "unix://" + config.socket,
		sockets: []string{config.socket, config.otel},
		answers: func(ctx context.Context) bool { return accepts(ctx, "unix://"+config.socket) },
		hint:    workerHint,
	}
	if rootless {
		l.args = append([]string{
			"--state-dir", filepath.Join(m.Dirs.Run, "rootlesskit"),
			"--net=host", "--pidns", "--propagation=rslave", "--copy-up=/run",
			buildkitd, "--rootless",
		}, l.args...)
	}
	return m.start(ctx, l)
}

// workerRoot is where BuildKit keeps its cache.
func (m *Machine) workerRoot() string { return filepath.Join(m.Dirs.State, "buildkit") }

// workerTemp is where BuildKit makes its temporary mounts.
func (m *Machine) workerTemp() string { return filepath.Join(m.Dirs.State, "tmp") }

// runtime returns the OCI runtime for the worker: the pinned runc, or where it
// cannot be compiled for want of a C compiler, the one on PATH.
func (m *Machine) runtime(ctx context.Context) (string, error) {
	runc, err := m.Part(ctx, Runc)
	if err == nil || !errors.Is(err, errNoCompiler) {
		return runc, err
	}
	for _, name := range []string{"runc", "crun"} {
		if path, lookErr := exec.LookPath(name); lookErr == nil {
			m.report(Event{Subject: string(Runc), Phase: Note, Detail: "no C compiler to build the pinned one with; using " + path})
			return path, nil
		}
	}
	return "", fmt.Errorf("%w, or install a runc (Debian, Ubuntu: apt-get install runc)", err)
}

// workerConfig is what buildkitd.toml says.
type workerConfig struct {
	root, socket, otel, runc string
	rootless                 bool
}

// toml returns the configuration as docs/buildkitd.toml.md of BuildKit defines
// it. Go's quoted strings are TOML's for the paths of any real machine.
func (c workerConfig) toml() string {
	return fmt.Sprintf(`root = %q
insecure-entitlements = ["network.host"]

[grpc]
  address = [%q]

[otel]
  socketPath = %q

[cdi]
  disabled = true

[worker.oci]
  enabled = true
  binary = %q
  rootless = %t
  gc = true

[worker.containerd]
  enabled = false
`, c.root, "unix://"+c.socket, c.otel, c.runc, c.rootless)
}

// workerHint returns what to do about a worker that ended with log.
func workerHint(log string) string {
	for _, h := range []struct{ sign, hint string }{
		{"no space left on device", "The disk or user.max_user_namespaces is exhausted: make room below ~/.local/state/archmage, or run sysctl -w user.max_user_namespaces=28633 as root."},
		{"could not lock", "Another BuildKit uses the same state; end it, or set XDG_STATE_HOME to another directory."},
		{"newuidmap", "Check that newuidmap and newgidmap are setuid root (Debian, Ubuntu: apt-get install --reinstall uidmap) and that your lines in /etc/subuid and /etc/subgid overlap no other's."},
		{"/proc: operation not permitted", "This container hides parts of /proc; run it with --security-opt systempaths=unconfined, or declare a worker in targets.hcl."},
		{"permission denied", namespaceHint()},
		{"operation not permitted", namespaceHint()},
	} {
		if strings.Contains(log, h.sign) {
			return h.hint
		}
	}
	return ""
}

// namespaceHint says what keeps this user from namespaces.
func namespaceHint() string {
	if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
		return "AppArmor keeps ordinary users from user namespaces here: as root, run sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (and keep it in /etc/sysctl.d), or declare a worker in targets.hcl."
	}
	return "This machine does not let BuildKit make namespaces or mounts (a container without --privileged?): run it where that is allowed, or declare a worker in targets.hcl."
}
