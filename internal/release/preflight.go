package release

import (
	"context"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/openssh"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

// registries brings up the embedded ones that the plan pushes to and asks the
// others whether they answer.
func (w *Workspace) registries(ctx context.Context, p *plan.Plan, client *registry.Client) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, host := range p.Hosts() {
		g.Go(func() error {
			if p.Registry(host).Embedded {
				if err := w.startRegistry(gctx, host); err != nil {
					return err
				}
			}
			return client.Ping(gctx, host)
		})
	}
	return interrupted(ctx, g.Wait())
}

// mayPush asks the registries whether they take a push, before anything is
// made that would be pushed.
func (w *Workspace) mayPush(ctx context.Context, p *plan.Plan, client *registry.Client) error {
	if err := w.showLogins(p); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for _, host := range p.Hosts() {
		for _, repo := range repositories(p, host) {
			g.Go(func() error { return client.CheckPush(gctx, repo) })
		}
	}
	return interrupted(ctx, g.Wait())
}

func (w *Workspace) startRegistry(ctx context.Context, host string) error {
	m, err := w.machine()
	if err != nil {
		return err
	}
	d, err := m.StartRegistry(ctx, host)
	if err != nil {
		return interrupted(ctx, err)
	}
	if d.Foreign {
		w.say("registry %s: somebody else's answers there and is used", host)
	}
	return nil
}

// showLogins says which login is used for which repositories, where there is one.
func (w *Workspace) showLogins(p *plan.Plan) error {
	logins := credential.New(w.Getenv)
	shown := map[string]bool{}
	for _, host := range p.Hosts() {
		for _, repo := range repositories(p, host) {
			l, err := logins.Lookup(repo)
			if err != nil {
				return registry.CredentialError(host, err)
			}
			if line := l.String(); l.Found() && !shown[line] {
				shown[line] = true
				w.say("registry %s: logging in %s", host, line)
			}
		}
	}
	return nil
}

// logins are those of this machine, and of the registries that archmage runs on
// it. Devices get none of the latter: they only read.
func (w *Workspace) logins() *credential.Store {
	return credential.New(w.Getenv).WithOwn(func(host string) credential.Login {
		m, err := w.machine()
		if err != nil {
			return credential.Login{}
		}
		user, password, file, ok := m.RegistryLogin(host)
		if !ok {
			return credential.Login{}
		}
		return credential.Login{Username: user, Password: password, Key: host, Source: file}
	})
}

// insecure reports of a host whether it is declared to be spoken to over plain
// HTTP or without verifying certificates.
func insecure(p *plan.Plan) func(host string) bool {
	return func(host string) bool { return p.Registry(host).Insecure || p.Registry(host).Embedded }
}

// loginsFor are the registries and repositories of the plan that a daemon may
// log in to, whatever it builds.
func loginsFor(p *plan.Plan) []string {
	var out []string
	for _, host := range p.Hosts() {
		out = append(out, repositories(p, host)...)
	}
	for _, r := range p.Registries {
		out = append(out, r.Host)
	}
	return out
}

// repositories of the plan on one host.
func repositories(p *plan.Plan, host string) []string {
	seen := map[string]bool{}
	var out []string
	add := func(repo string) {
		if repo != "" && plan.Host(repo) == host && !seen[repo] {
			seen[repo] = true
			out = append(out, repo)
		}
	}
	for _, t := range p.Targets {
		for _, b := range t.Builds {
			add(b.Repository)
		}
		if t.Published() {
			for _, r := range t.Repositories() {
				add(r)
			}
		}
	}
	return out
}

// dial connects to a worker; registries on this machine's loopback are brought
// to those behind SSH.
func (w *Workspace) dial(p *plan.Plan) worker.Dialer {
	o := worker.Options{SSHConfig: w.Getenv("ARCHMAGE_SSH_CONFIG"), Credentials: w.logins(), PlainHTTP: insecure(p)}
	for _, host := range p.Hosts() {
		if _, port, err := net.SplitHostPort(host); err == nil && oci.Loopback(host) {
			o.Forwards = append(o.Forwards, openssh.Forward{Remote: net.JoinHostPort("127.0.0.1", port), Local: host})
		}
	}
	return func(ctx context.Context, spec *config.Worker) (*worker.Worker, error) {
		return w.connect(ctx, spec, o)
	}
}

func (w *Workspace) connect(ctx context.Context, spec *config.Worker, o worker.Options) (*worker.Worker, error) {
	address := spec.Address
	if address == "auto" {
		m, err := w.machine()
		if err != nil {
			return nil, err
		}
		f := &worker.Finder{Machine: m, Getenv: w.Getenv, Say: func(s string) { w.say("worker %s: %s", spec.Name, s) }}
		if address, err = f.Find(ctx); err != nil {
			return nil, err
		}
	}
	return worker.Connect(ctx, spec, address, o)
}

// connectFleet connects to the workers.
func (w *Workspace) connectFleet(ctx context.Context, p *plan.Plan) (*worker.Fleet, error) {
	start := time.Now()
	defer w.status.Close()
	fleet, err := worker.OpenFleet(ctx, p.Workers, p.Release.Emulation, w.dial(p), func(s string) { w.status.Warn(s) })
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	for _, c := range fleet.Workers() {
		w.say("worker %s: BuildKit %s on %s", c.Name, c.Version, config.FormatPlatform(c.Host))
	}
	for _, err := range fleet.Down() {
		w.status.Warn(err.Error() + "; the others go on, and it is tried again")
	}
	if took := time.Since(start); took > 10*time.Second {
		w.say("ready after %s", ui.Duration(took))
	}
	return fleet, nil
}
