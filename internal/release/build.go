package release

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	r, err := w.begin(p, epoch)
	if err != nil {
		return nil, err
	}
	workers, err := w.preflight(ctx, p, client)
	if err != nil {
		return nil, err
	}
	defer closeAll(workers)
	assigned, err := w.assign(p, workers)
	if err != nil {
		return nil, err
	}
	var out io.Writer = w.Streams.Err
	if f := w.Streams.Err.File(); f != nil {
		out = f // the live display needs the terminal itself
	}
	display, err := build.NewDisplay(out, build.Mode(w.Progress))
	if err != nil {
		return nil, err
	}
	run := &solves{
		record: r, client: client, display: display, assigned: assigned,
		options: build.Options{
			Dir: w.Dir, LookupEnv: w.LookupEnv, Environ: w.Environ, Epoch: epoch,
			Insecure:         func(host string) bool { return p.Registry(host).Insecure || p.Registry(host).Embedded },
			DockerMediaTypes: p.Release.MediaTypes == "docker",
			Strip:            p.Release.Attestations == "strip",
		},
		slots: map[*worker.Worker]chan struct{}{},
		done:  map[*plan.Build]*outcome{},
	}
	err = run.all(ctx, p)
	display.Close()
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	return r, r.advance(Built)
}

// solves runs the builds of a plan, each as soon as what it needs is there.
type solves struct {
	record   *Record
	client   *registry.Client
	display  *build.Display
	options  build.Options
	assigned map[*plan.Build][]*worker.Worker
	slots    map[*worker.Worker]chan struct{}
	done     map[*plan.Build]*outcome

	mu sync.Mutex // guards the record
}

// outcome of a build, readable once ended is closed.
type outcome struct {
	ended chan struct{}
	base  build.Base
	err   error
}

var errBase = errors.New("what it builds on was not built")

// all runs every build to its end, whatever happens to the others, and joins
// their errors in the order of the plan.
func (s *solves) all(ctx context.Context, p *plan.Plan) error {
	for _, b := range p.Builds() {
		s.done[b] = &outcome{ended: make(chan struct{})}
		for _, w := range s.assigned[b] {
			if s.slots[w] == nil {
				s.slots[w] = make(chan struct{}, w.Slots)
			}
		}
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
		if o.err != nil && !errors.Is(o.err, errBase) {
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
	if len(s.assigned[b]) == 0 {
		return build.Base{}, fmt.Errorf("building %s: %w", b.ID(), errBase)
	}
	w := s.assigned[b][0]
	select {
	case s.slots[w] <- struct{}{}:
		defer func() { <-s.slots[w] }()
	case <-ctx.Done():
		return build.Base{}, context.Cause(ctx)
	}
	res, err := build.Run(ctx, w.Client, w.Name, b, bases, s.display, s.options)
	if err != nil {
		return build.Base{}, err
	}
	return build.Base{Repository: b.Repository, Descriptor: res.Descriptor}, s.note(b, w, res)
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
