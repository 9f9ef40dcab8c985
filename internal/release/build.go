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

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/worker"
)

// Build makes and pushes every platform of the selection, by digest. No tag
// moves.
func (w *Workspace) Build(ctx context.Context, s Selection) error {
	p, err := w.loadPublishable(s)
	if err != nil {
		return err
	}
	unlock, err := w.lock()
	if err != nil {
		return err
	}
	defer unlock()
	client, err := w.client(p)
	if err != nil {
		return err
	}
	r, err := w.build(ctx, p, client)
	if err != nil {
		return err
	}
	return w.showBuilt(r)
}

// build runs all solves of the plan and returns the record of them.
func (w *Workspace) build(ctx context.Context, p *plan.Plan, client *registry.Client) (*Record, error) {
	epoch, err := build.Epoch(ctx, w.Dir, w.LookupEnv)
	if err != nil {
		return nil, err
	}
	history := w.history()
	r, err := w.begin(p, epoch)
	if err != nil {
		return nil, err
	}
	fleet, err := w.preflight(ctx, p, client)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	scratch := w.path("tmp", r.ID)
	defer func() { _ = os.RemoveAll(w.path("tmp")) }() // the lock is ours, so is what is left here
	options := build.Options{
		Dir: w.Dir, LookupEnv: w.LookupEnv, Environ: w.Environ, Epoch: epoch,
		Insecure:         func(host string) bool { return p.Registry(host).Insecure || p.Registry(host).Embedded },
		DockerMediaTypes: p.Release.MediaTypes == "docker",
		Strip:            p.Release.Attestations == "strip",
		Registry:         client,
		Scratch:          scratch,
	}
	jobs, err := w.jobs(ctx, p, fleet, history, options)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	var out io.Writer = w.Streams.Err
	if f := w.Streams.Err.File(); f != nil {
		out = f // the live display needs the terminal itself
	}
	display, err := build.NewDisplay(out, build.Mode(w.Progress))
	if err != nil {
		return nil, err
	}
	display.NameWorkers = len(p.Workers) > 1
	run := &solves{
		record: r, client: client, display: display, fleet: fleet, jobs: jobs, options: options,
		done: map[*plan.Build]*outcome{},
	}
	err = run.all(ctx, p)
	display.Close()
	w.sayMissing(p, run)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	return r, r.advance(Built)
}

// solves runs the builds of a plan, each as soon as what it needs is there.
type solves struct {
	record  *Record
	client  *registry.Client
	display *build.Display
	fleet   *worker.Fleet
	jobs    map[*plan.Build]*worker.Job
	options build.Options
	done    map[*plan.Build]*outcome

	mu sync.Mutex // guards the record
}

// outcome of a build, readable once ended is closed.
type outcome struct {
	ended chan struct{}
	base  build.Base
	err   error
}

// errBase is the error of a build that could not begin: what it builds on
// failed, which is said already, or nobody may build it and it is optional.
var errBase = errors.New("what it builds on was not built")

// all runs every build to its end, whatever happens to the others, and joins
// their errors in the order of the plan.
func (s *solves) all(ctx context.Context, p *plan.Plan) error {
	for _, b := range p.Builds() {
		s.done[b] = &outcome{ended: make(chan struct{})}
	}
	for _, b := range p.Builds() {
		go func() {
			o := s.done[b]
			defer close(o.ended)
			o.base, o.err = s.one(ctx, b)
		}()
	}
	var errs []error
	for _, b := range p.Builds() {
		o := s.done[b]
		<-o.ended
		if o.err != nil && !b.Optional && !errors.Is(o.err, errBase) {
			errs = append(errs, o.err)
		}
	}
	return errors.Join(errs...)
}

func (s *solves) one(ctx context.Context, b *plan.Build) (build.Base, error) {
	bases := map[string]build.Base{}
	for name, need := range b.Needs {
		o := s.done[need]
		<-o.ended
		if o.err != nil {
			return build.Base{}, fmt.Errorf("building %s: %w", b.ID(), errBase)
		}
		bases[name] = o.base
	}
	j := s.jobs[b]
	if j == nil {
		return build.Base{}, fmt.Errorf("building %s: no worker may: %w", b.ID(), errBase)
	}
	if err := build.Prepare(ctx, b, s.display, s.options); err != nil {
		return build.Base{}, err
	}
	var by *worker.Worker
	var res *build.Result
	err := s.fleet.Do(ctx, j, b.ID(),
		func(from string, why error) { s.display.Moved(b.ID(), from, why) },
		func(ctx context.Context, w *worker.Worker) error {
			r, err := build.Solve(ctx, w, b, bases, s.display, s.options)
			if err == nil {
				by, res = w, r
			}
			return err
		})
	if err != nil {
		return build.Base{}, err
	}
	return build.Base{Repository: b.Repository, Descriptor: res.Descriptor}, s.note(b, by, res)
}

// note writes a finished build into the record at once: it is not lost when
// the release ends here.
func (s *solves) note(b *plan.Build, w *worker.Worker, res *build.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var order []string
	for _, o := range b.Target.Builds {
		order = append(order, o.PlatformName())
	}
	s.record.target(b.Target.Name).put(&ChildRecord{
		Platform: b.PlatformName(), Repository: b.Repository,
		Digest: res.Descriptor.Digest, MediaType: res.Descriptor.MediaType, Size: res.Descriptor.Size,
		Worker: w.Name, Native: w.Builds(b.Platform),
		Steps: res.Steps, Cached: res.Cached, Seconds: res.Duration.Round(time.Millisecond).Seconds(),
	}, order)
	return s.record.save()
}

// sayMissing names the optional platforms that are not there, and in red:
// never silently.
func (w *Workspace) sayMissing(p *plan.Plan, s *solves) {
	for _, b := range p.Builds() {
		if err := s.done[b].err; err != nil && b.Optional {
			reason, _, _ := strings.Cut(err.Error(), "\n")
			fmt.Fprintf(w.Streams.Err, "%s %s is optional and missing from this release: %s\n", w.Streams.Err.Bad("missing:"), b.ID(), reason)
		}
	}
}
