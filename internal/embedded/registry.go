package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	psnet "github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"

	"github.com/archmage-build/archmage/internal/oci"
)

// dialLimit is how long something on this machine may take to answer.
const dialLimit = 2 * time.Second

// StartRegistry starts a registry at host, such as "localhost:5000", or finds
// the one that runs there, and returns it once it answers. It takes loopback
// addresses only, speaks plain HTTP and keeps its data. Everybody on this machine
// may read; who writes or deletes needs what RegistryLogin gives. A registry of
// this user's or root's that archmage did not start is used as it is, and
// returned with Foreign set.
func (m *Machine) StartRegistry(ctx context.Context, host string) (Daemon, error) {
	addr, err := loopback(host)
	if err != nil {
		return Daemon{}, fmt.Errorf("starting registry: %w", err)
	}
	name := registryName(addr)
	program, err := m.path(Registry)
	if err != nil {
		return Daemon{}, err
	}
	dir := m.registryDir(addr)
	ours := func(ctx context.Context, addr string) bool {
		if m.AnyoneWrites {
			return isRegistry(ctx, addr)
		}
		return proves(ctx, dir, append([]string{addr}, alsoMeant(host)...))
	}
	if d, ok := m.running(ctx, name, program, ours); ok {
		return d, nil
	}
	if _, alive := m.load(name); !alive {
		foreign, err := occupied(ctx, host, addr)
		if err != nil {
			return Daemon{}, fmt.Errorf("starting registry: %w", err)
		}
		if foreign {
			m.report(Event{Subject: name, Phase: Note, Detail: "a registry that archmage did not start answers there; using it as it is"})
			return Daemon{Name: name, Address: addr, Reused: true, Foreign: true}, nil
		}
	}
	if _, err := m.Part(ctx, Registry); err != nil {
		return Daemon{}, err
	}

	if err := private(m.Dirs.State); err != nil {
		return Daemon{}, err
	}
	release, err := lock(ctx, m.lockFile(name), func() {
		m.report(Event{Subject: name, Phase: Waiting, Detail: "another process starts or ends it"})
	})
	if err != nil {
		return Daemon{}, err
	}
	defer release()
	if d, ok, err := m.settle(ctx, name, program, ours); ok || err != nil {
		return d, err
	}

	for _, d := range []string{dir, filepath.Join(dir, "data")} {
		if err := private(d); err != nil {
			return Daemon{}, err
		}
	}
	config, err := registryConfig(dir, addr)
	if err != nil {
		return Daemon{}, fmt.Errorf("configuring %s: %w", name, err)
	}
	// Its tracing would look for a collector on this machine otherwise.
	env := daemonEnv(m.Environ, "OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none")
	if !m.AnyoneWrites {
		guard, err := guardEnv(dir, host, addr)
		if err != nil {
			return Daemon{}, fmt.Errorf("configuring %s: %w", name, err)
		}
		env = append(env, guard...)
	}
	return m.start(ctx, launch{
		name: name, program: program, args: []string{"serve", config}, env: env, address: addr,
		answers: func(ctx context.Context) bool { return ours(ctx, addr) },
	})
}

func registryName(addr string) string { return "registry " + addr }

// registryDir is where a registry keeps its data and secrets.
func (m *Machine) registryDir(addr string) string {
	return filepath.Join(m.Dirs.State, fileName(registryName(addr)))
}

// loopback returns the address to listen at for host, as IP and port.
func loopback(host string) (string, error) {
	const remedy = `an embedded registry serves this machine only; write registry "localhost:5000" in targets.hcl, or leave out embedded = true if the registry runs elsewhere`
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return "", fmt.Errorf("address %q names no port: %s", host, remedy)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("address %q: %q is no port (1 to 65535): %s", host, port, remedy)
	}
	ip := net.ParseIP(name)
	if strings.EqualFold(name, "localhost") {
		ip = net.IPv4(127, 0, 0, 1)
	}
	if ip == nil || !oci.Loopback(name) {
		return "", fmt.Errorf("address %q is not on the loopback interface: %s", host, remedy)
	}
	return net.JoinHostPort(ip.String(), port), nil
}

// alsoMeant are the addresses that clients may take a host's name for, besides
// its own.
func alsoMeant(host string) []string {
	name, port, err := net.SplitHostPort(host)
	if err != nil || !strings.EqualFold(name, "localhost") || !hasIPv6() {
		return nil
	}
	return []string{net.JoinHostPort("::1", port)}
}

// hasIPv6 reports whether somebody can listen at ::1 on this machine.
func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// occupied reports whether a registry answers at addr or at what else host
// means. If something other than a registry listens there, or another user's, that
// is an error.
func occupied(ctx context.Context, host, addr string) (bool, error) {
	for _, a := range append([]string{addr}, alsoMeant(host)...) {
		conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", a)
		if err != nil {
			continue // nothing there
		}
		_ = conn.Close()
		_, port, _ := net.SplitHostPort(a)
		if uid, ok := listenerOwner(a); ok && uid != 0 && uid != os.Getuid() {
			return false, fmt.Errorf("port %s is taken: uid %d listens at %s, who would get what is pushed; name another port in targets.hcl", port, uid, a)
		}
		if isRegistry(ctx, a) {
			return true, nil
		}
		return false, fmt.Errorf("port %s is taken: %s listens at %s and is no registry; end it, or name another port in targets.hcl", port, listener(ctx, a), a)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EACCES) {
		return false, fmt.Errorf("listening at %s: %w; name a port above 1023 in targets.hcl", addr, err)
	}
	if err != nil {
		return false, fmt.Errorf("listening at %s: %w; name another port in targets.hcl", addr, err)
	}
	return false, l.Close()
}

// isRegistry reports whether a registry answers at addr, with or without a
// demand for credentials (distribution-spec, end-1).
func isRegistry(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v2/", nil)
	if err != nil {
		return false
	}
	// No proxy, and no redirect to somewhere else.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized
}

// listener describes the process that listens at addr, as far as this user may
// know it.
func listener(ctx context.Context, addr string) string {
	const unknown = "another program"
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return unknown
	}
	conns, err := psnet.ConnectionsWithContext(ctx, "tcp")
	if err != nil {
		return unknown
	}
	for _, c := range conns {
		at := net.ParseIP(c.Laddr.IP)
		if c.Status != "LISTEN" || strconv.Itoa(int(c.Laddr.Port)) != port || c.Pid == 0 ||
			!at.IsUnspecified() && !at.Equal(net.ParseIP(host)) {
			continue
		}
		if p, err := process.NewProcess(c.Pid); err == nil {
			if name, err := p.Name(); err == nil {
				return fmt.Sprintf("process %d (%s)", c.Pid, name)
			}
		}
		return fmt.Sprintf("process %d", c.Pid)
	}
	return unknown
}

// registryConfig writes the configuration of the registry in dir and returns
// its path. The format is that of distribution's docs/about/configuration.md.
func registryConfig(dir, addr string) (string, error) {
	// The secret signs the state of uploads; kept, one goes on after a restart.
	secret, err := keptSecret(filepath.Join(dir, "secret"))
	if err != nil {
		return "", err
	}
	// URLs are relative because devices reach it under another name, through SSH.
	config := fmt.Sprintf(`version: 0.1
log:
  accesslog:
    disabled: true
  level: info
storage:
  filesystem:
    rootdirectory: %q
  delete:
    enabled: true
http:
  addr: %q
  net: tcp
  secret: %q
  relativeurls: true
  draintimeout: 5s
`, filepath.Join(dir, "data"), addr, secret)
	name := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("writing its configuration: %w", err)
	}
	return name, nil
}
