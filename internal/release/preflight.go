package release

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

// registries brings up the embedded ones that the plan pushes to and asks the
// others whether they answer and take a push.
func (w *Workspace) registries(ctx context.Context, p *plan.Plan, client *registry.Client) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, host := range p.Hosts() {
		g.Go(func() error {
			if p.Registry(host).Embedded {
				if err := w.startRegistry(ctx, host); err != nil {
					return err
				}
			}
			if err := client.Ping(ctx, host); err != nil {
				return interrupted(ctx, err)
			}
			for _, repo := range repositories(p, host) {
				if err := client.CheckPush(ctx, repo); err != nil {
					return interrupted(ctx, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
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
		for _, r := range t.Repositories() {
			add(r)
		}
	}
	return out
}

// connect opens the plan's workers, all of them: which one is needed is known
// when they have said what they build.
func (w *Workspace) connect(ctx context.Context, p *plan.Plan) ([]*worker.Worker, error) {
	out := make([]*worker.Worker, len(p.Workers))
	errs := make([]error, len(p.Workers))
	g := new(errgroup.Group)
	for i, spec := range p.Workers {
		g.Go(func() error {
			out[i], errs[i] = w.connectOne(ctx, spec)
			return nil
		})
	}
	_ = g.Wait() // errors are kept one by one
	var up []*worker.Worker
	for _, c := range out {
		if c != nil {
			up = append(up, c)
		}
	}
	if ctx.Err() != nil {
		closeAll(up)
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(errs...); err != nil {
		closeAll(up)
		return nil, err
	}
	return up, nil
}

func (w *Workspace) connectOne(ctx context.Context, spec *config.Worker) (*worker.Worker, error) {
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
	return worker.Connect(ctx, spec, address)
}

func closeAll(workers []*worker.Worker) {
	for _, c := range workers {
		_ = c.Close() // the process ends or has a better error to tell
	}
}

// preflight makes everything answer that a build needs, side by side.
func (w *Workspace) preflight(ctx context.Context, p *plan.Plan, client *registry.Client) ([]*worker.Worker, error) {
	start := time.Now()
	defer w.status.Close()
	var workers []*worker.Worker
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.registries(gctx, p, client) })
	g.Go(func() error {
		var err error
		workers, err = w.connect(gctx, p)
		return err
	})
	if err := g.Wait(); err != nil {
		closeAll(workers)
		return nil, interrupted(ctx, err)
	}
	for _, c := range workers {
		w.say("worker %s: BuildKit %s on %s", c.Name, c.Version, config.FormatPlatform(c.Host))
	}
	if took := time.Since(start); took > 10*time.Second {
		w.say("ready after %s", ui.Duration(took))
	}
	return workers, nil
}

// assign chooses the workers of every build and says where a foreign one must
// do.
func (w *Workspace) assign(p *plan.Plan, workers []*worker.Worker) (map[*plan.Build][]*worker.Worker, error) {
	out := map[*plan.Build][]*worker.Worker{}
	foreign := map[string][]string{}
	var order []string
	var errs []error
	for _, b := range p.Builds() {
		candidates, err := worker.Choose(workers, b, p.Workers, p.Release.Emulation)
		if err != nil {
			if !b.Optional {
				errs = append(errs, err)
			}
			continue
		}
		out[b] = candidates
		if first := candidates[0]; !first.Builds(b.Platform) && p.Release.Emulation == "warn" {
			if foreign[first.Name] == nil {
				order = append(order, first.Name)
			}
			if name := b.PlatformName(); !contains(foreign[first.Name], name) {
				foreign[first.Name] = append(foreign[first.Name], name)
			}
		}
	}
	for _, name := range order {
		w.status.Warn(fmt.Sprintf("%s are not native to worker %s: steps that run programs need emulation there (emulation = \"forbid\" refuses this)",
			strings.Join(foreign[name], ", "), name))
	}
	return out, errors.Join(errs...)
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
