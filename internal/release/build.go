package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/inputs"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/worker"
)

// BuildOptions say what to build and how.
type BuildOptions struct {
	Selection
	Reuse
}

// Reuse says what of earlier runs is taken.
type Reuse struct {
	// Fresh takes nothing.
	Fresh bool
	// Offline has base images whose registry does not answer count as they were
	// when it last did.
	Offline bool
}

// Build makes and pushes every platform of the selection, by digest. No tag
// moves.
func (w *Workspace) Build(ctx context.Context, o BuildOptions) error {
	return w.alone(o.Selection, func(p *plan.Plan, client *registry.Client) error {
		run, err := w.pipeline(p, client, nil)
		if err != nil {
			return err
		}
		run.reuse = o.Reuse
		if err := run.steps(ctx, stepBuild); err != nil {
			return err
		}
		return w.showBuilt(run.record)
	})
}

// checkout is what is built and the time that its images have.
func (w *Workspace) checkout(ctx context.Context) (*build.Checkout, *time.Time, error) {
	c := build.ReadCheckout(ctx, w.Dir)
	epoch, err := c.Epoch(w.LookupEnv)
	return c, epoch, err
}

// build gives every build of the plan, from an earlier run or solved now, and
// returns the record of them.
func (w *Workspace) build(ctx context.Context, p *plan.Plan, client *registry.Client, o Reuse) (*journal.Record, error) {
	var checkout *build.Checkout
	var epoch *time.Time
	past := history{}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		checkout, epoch, err = w.checkout(gctx)
		return err
	})
	g.Go(func() error { return w.registries(gctx, p, client) })
	if !o.Fresh {
		g.Go(func() error { past = w.readHistory(); return nil })
	}
	err := g.Wait()
	w.status.Close()
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	if err := w.closeOpen(ctx, p, client); err != nil {
		return nil, err
	}
	r, err := w.begin(p, epoch, o.Fresh)
	if err != nil {
		return nil, err
	}
	r.Commit, r.Dirty = checkout.Commit, checkout.Dirty
	if r.Dirty {
		w.status.Warn(fmt.Sprintf("the checkout has changes that commit %.8s does not: the image has the time of now, and cannot be built again from that commit", r.Commit))
	}
	if err := w.readBefore(ctx, p, client, r); err != nil {
		return nil, interrupted(ctx, err)
	}
	if err := r.Save(); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(w.path("tmp")) }() // the lock is ours, so is what is left here
	run := w.solves(p, client, r, past, epoch, checkout)
	if o.Offline {
		run.options.Inputs.Offline(unreachable)
	}
	if err := w.keep(ctx, p, run); err != nil {
		return nil, interrupted(ctx, err)
	}
	w.sayOld(run.options.Inputs.OldBases())
	if err := w.solve(ctx, p, run); err != nil {
		return nil, interrupted(ctx, err)
	}
	if err := w.deliver(p, run); err != nil {
		return nil, err
	}
	return r, r.Advance(journal.Built)
}

// solves are the builds of a plan, for a record.
func (w *Workspace) solves(p *plan.Plan, client *registry.Client, r *journal.Record, past history, epoch *time.Time, checkout *build.Checkout) *solves {
	// A configuration that cannot be read is told by whoever looks for a login.
	docker, _ := credential.New(w.Getenv).Docker()
	return &solves{
		record: r, client: client, past: past, nativeOnly: p.Release.Emulation == "forbid",
		options: build.Options{
			Dir: w.Dir, LookupEnv: w.LookupEnv, Environ: w.Environ, Epoch: epoch, Checkout: checkout,
			Insecure:         insecure(p),
			Logins:           loginsFor(p),
			Docker:           docker,
			DockerMediaTypes: p.Release.MediaTypes == "docker",
			Strip:            p.Release.Attestations == "strip",
			Registry:         client,
			Scratch:          w.path("tmp", r.ID),
			Inputs:           inputs.NewReader(client, w.path("inputs"), w.Environ),
		},
		done:     map[*plan.Build]*outcome{},
		prepared: map[*plan.Target]*preparation{},
		why:      map[*plan.Build]string{},
		made:     map[*plan.Build]*build.Result{},
	}
}

// display shows the builds on stderr.
func (w *Workspace) display(p *plan.Plan) (*build.Display, error) {
	var out io.Writer = w.Streams.Err
	if f := w.Streams.Err.File(); f != nil {
		out = f // the live display needs the terminal itself
	}
	d, err := build.NewDisplay(out, build.Mode(w.Progress))
	if err != nil {
		return nil, err
	}
	d.NameWorkers = len(p.Workers) > 1
	return d, nil
}

// solve runs what was not kept. Workers are needed only for that.
func (w *Workspace) solve(ctx context.Context, p *plan.Plan, run *solves) error {
	todo := run.todo(p)
	if len(todo) == 0 && !called(p) {
		return nil
	}
	if len(todo) > 0 {
		if err := w.mayPush(ctx, p, run.client); err != nil {
			return err
		}
	}
	fleet, err := w.connectFleet(ctx, p)
	if err != nil {
		return err
	}
	defer fleet.Close()
	run.fleet = fleet
	if run.jobs, err = w.jobs(ctx, p, todo, fleet, run.past, run.options); err != nil {
		return err
	}
	if run.display, err = w.display(p); err != nil {
		return err
	}
	if err := w.calls(ctx, p, run); err != nil {
		run.display.Close()
		return err
	}
	if !w.Streams.Err.IsTerminal() { // there the display has a clock
		w.status.Set("build", "building "+count(len(todo), "platform"))
	}
	err = run.all(ctx, todo)
	run.display.Close()
	w.status.Done("build")
	w.sayMissing(todo, run)
	w.sayChanged(todo, run)
	return err
}

// solves runs the builds of a plan, each as soon as what it needs is there.
type solves struct {
	record  *journal.Record
	client  *registry.Client
	display *build.Display
	fleet   *worker.Fleet
	past    history
	// nativeOnly keeps nothing that was built by emulation.
	nativeOnly bool
	jobs       map[*plan.Build]*worker.Job
	options    build.Options
	done       map[*plan.Build]*outcome

	mu sync.Mutex // guards the record and the maps below
	// prepared are the targets whose prepare commands run or ran.
	prepared map[*plan.Target]*preparation
	// why says, of builds that could have been reused, what is different.
	why map[*plan.Build]string
	// made are the builds of this run.
	made map[*plan.Build]*build.Result
}

// outcome of a build, readable once ended is closed.
type outcome struct {
	ended chan struct{}
	once  sync.Once // an attempt that nobody waits for any more may still end
	base  build.Base
	err   error
}

// errBase is the error of a build that could not begin: what it builds on
// failed, which is said already, or nobody may build it and it is optional.
var errBase = errors.New("what it builds on was not built")

// todo are the builds that have no outcome yet, bases first.
func (s *solves) todo(p *plan.Plan) []*plan.Build {
	var out []*plan.Build
	for _, b := range p.Builds() {
		if s.done[b] == nil {
			out = append(out, b)
		}
	}
	return out
}

// all runs every build to its end, whatever happens to the others, and joins
// their errors in the order of the plan.
func (s *solves) all(ctx context.Context, builds []*plan.Build) error {
	for _, b := range builds {
		s.done[b] = &outcome{ended: make(chan struct{})}
	}
	for _, group := range build.Together(builds, s.options) {
		go s.group(ctx, group)
	}
	var errs []error
	for _, b := range builds {
		o := s.done[b]
		<-o.ended
		if o.err != nil && !b.Optional && !errors.Is(o.err, errBase) {
			errs = append(errs, o.err)
		}
	}
	return build.Join(errs)
}

// end gives a build its outcome.
func (s *solves) end(b *plan.Build, base build.Base, err error) {
	o := s.done[b]
	o.once.Do(func() {
		o.base, o.err = base, err
		close(o.ended)
	})
}

// group builds those that may share a solve, once what they need is there.
func (s *solves) group(ctx context.Context, builds []*plan.Build) {
	bases := map[string]build.Base{}
	var ready []*plan.Build
	var tasks []worker.Task
	var longest time.Duration
	for _, b := range builds {
		if err := s.ready(ctx, b, bases); err != nil {
			s.end(b, build.Base{}, err)
			continue
		}
		ready, tasks = append(ready, b), append(tasks, worker.Task{ID: b.ID(), Job: s.jobs[b]})
		longest = max(longest, s.jobs[b].Weight)
	}
	for _, t := range tasks {
		t.Job.Weight = longest // so that they come up one after the other
	}
	errs := s.fleet.DoAll(ctx, tasks,
		func(i int, from string, why error) { s.display.Moved(ready[i].ID(), from, why) },
		func(ctx context.Context, w *worker.Worker, which []int) []error {
			var now []*plan.Build
			for _, i := range which {
				now = append(now, ready[i])
			}
			return s.solve(ctx, w, now, bases)
		})
	for i, b := range ready {
		if errs[i] != nil {
			s.end(b, build.Base{}, errs[i])
		}
	}
}

// ready waits for what b builds on, prepares it, and adds its bases.
func (s *solves) ready(ctx context.Context, b *plan.Build, bases map[string]build.Base) error {
	for name, need := range b.Needs {
		o := s.done[need]
		<-o.ended
		if o.err != nil {
			return fmt.Errorf("building %s: %w", b.ID(), errBase)
		}
		bases[name] = o.base
	}
	if s.jobs[b] == nil {
		return fmt.Errorf("building %s: no worker may: %w", b.ID(), errBase)
	}
	return s.prepare(ctx, b)
}

// solve builds some on a worker, and ends those that are built. They are in the
// record at once: they are not lost when the release ends here.
func (s *solves) solve(ctx context.Context, w *worker.Worker, builds []*plan.Build, bases map[string]build.Base) []error {
	errs := make([]error, len(builds))
	outcomes := build.SolveAll(ctx, w, builds, bases, s.display, s.options)
	for i, o := range outcomes {
		if errs[i] = o.Err; o.Err == nil {
			errs[i] = s.overwritten(builds[i], o.Result)
		}
		if errs[i] == nil {
			errs[i] = s.note(ctx, builds[i], w, o.Result)
		}
	}
	s.mu.Lock()
	err := s.record.Save()
	s.mu.Unlock()
	for i, b := range builds {
		if errs[i] == nil {
			errs[i] = err
		}
		if errs[i] == nil {
			s.end(b, outcomes[i].Base(b), nil)
		}
	}
	return errs
}

// note puts a finished build into the record. A base image that moved while it was
// built may be none of what it was recorded with.
func (s *solves) note(ctx context.Context, b *plan.Build, w *worker.Worker, res *build.Result) error {
	if b.Repository == "" { // nothing that a later release could take
		s.mu.Lock()
		defer s.mu.Unlock()
		s.made[b] = res
		return nil
	}
	if err := s.options.Inputs.Remember(b.ID(), &res.Inputs); err != nil {
		return err
	}
	complete := res.Inputs.Complete() && len(s.options.Inputs.MovedBases(ctx, &res.Inputs)) == 0
	s.put(b, &journal.Child{
		Platform: b.PlatformName(), Repository: b.Repository,
		Digest: res.Descriptor.Digest, MediaType: res.Descriptor.MediaType, Size: res.Descriptor.Size,
		Worker: w.Name, Native: w.Builds(b.Platform),
		Began: time.Now().Add(-res.Duration).UTC().Truncate(time.Millisecond),
		Steps: res.Steps, Cached: res.Cached, Seconds: res.Duration.Round(time.Millisecond).Seconds(),
		Inputs: res.Inputs.Digest, Complete: complete, BuildPlatform: config.FormatPlatform(w.Host),
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[b] = res
	return nil
}

// deliver writes the outputs that are files, and says where.
func (w *Workspace) deliver(p *plan.Plan, s *solves) error {
	for _, t := range p.Targets {
		if err := build.Deliver(t, func(b *plan.Build) bool { return s.made[b] != nil }, s.options); err != nil {
			return err
		}
		var names []string
		for _, b := range t.Builds {
			if s.made[b] != nil {
				names = append(names, b.PlatformName())
			}
		}
		for _, o := range t.Outputs { // none where it was not built
			w.say("wrote %s: %s for %s", o.Dest, t.Name, strings.Join(names, ", "))
		}
	}
	return nil
}

// sayChanged names the files that changed while they were built.
func (w *Workspace) sayChanged(builds []*plan.Build, s *solves) {
	for _, b := range builds {
		if res := s.made[b]; res != nil && len(res.Changed) > 0 {
			w.status.Warn(fmt.Sprintf("%s: %s changed while it was built: it is released as it was sent to the worker, and built again next time", b.ID(), summary(res.Changed)))
		}
	}
}

func (s *solves) put(b *plan.Build, c *journal.Child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var order []string
	for _, o := range b.Target.Builds {
		order = append(order, o.PlatformName())
	}
	s.record.Target(b.Target.Name).Put(c, order)
}

// sayMissing names the optional platforms that are not there, and in red:
// never silently.
func (w *Workspace) sayMissing(builds []*plan.Build, s *solves) {
	for _, b := range builds {
		if err := s.done[b].err; err != nil && b.Optional {
			reason, _, _ := strings.Cut(err.Error(), "\n")
			fmt.Fprintf(w.Streams.Err, "%s %s is optional and missing from this release: %s\n", w.Streams.Err.Bad("missing:"), b.ID(), reason)
		}
	}
}
