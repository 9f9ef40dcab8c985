package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/inputs"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/worker"
)

// Together groups builds that a worker may be asked for in one solve: those of one
// target that differ in nothing but the platform, wait for no other build, have no
// attestations and are pushed, not written to files. In one solve the context is
// sent once, and exported once.
func Together(builds []*plan.Build, o Options) [][]*plan.Build {
	type group struct {
		builds []*plan.Build
		asked  *client.SolveOpt // nil where it stays alone
	}
	byTarget := map[*plan.Target][]*group{}
	var groups []*group
	for _, b := range builds {
		of := byTarget[b.Target]
		asked := withoutPlatform(b, o)
		i := slices.IndexFunc(of, func(g *group) bool {
			return asked != nil && reflect.DeepEqual(asked, g.asked) && reflect.DeepEqual(b.Spec, g.builds[0].Spec)
		})
		if i >= 0 {
			of[i].builds = append(of[i].builds, b)
			continue
		}
		g := &group{builds: []*plan.Build{b}, asked: asked}
		groups, byTarget[b.Target] = append(groups, g), append(of, g)
	}
	var out [][]*plan.Build
	for _, g := range groups {
		out = append(out, g.builds)
	}
	return out
}

// withoutPlatform is what BuildKit will be asked for b apart from its platform,
// nil where it has to be asked for b alone.
func withoutPlatform(b *plan.Build, o Options) *client.SolveOpt {
	if len(b.Needs) > 0 || len(b.Target.Outputs) > 0 || b.Repository == "" {
		return nil
	}
	var out client.SolveOpt
	var errs [3]error // are said when b is built
	out.FrontendAttrs, errs[0] = attrs(b, o)
	out.Exports, errs[1] = exports(b, o)
	out.CacheImports, out.CacheExports, errs[2] = caches(b, o)
	if errors.Join(errs[:]...) != nil {
		return nil
	}
	for k := range out.FrontendAttrs {
		if strings.HasPrefix(k, "attest:") {
			return nil // the image of a platform is an index then, with its attestations
		}
	}
	delete(out.FrontendAttrs, "platform")
	return &out
}

// Outcome is how one of several builds ended.
type Outcome struct {
	*Result
	Err error
}

// SolveAll solves builds of one group of Together on a worker and pushes them by
// digest, as Solve does one. One that fails does not stop the others.
func SolveAll(ctx context.Context, w *worker.Worker, builds []*plan.Build, bases map[string]Base, d *Display, o Options) []Outcome {
	out := make([]Outcome, len(builds))
	if len(builds) == 1 || carried(w, builds[0].Repository) {
		var all sync.WaitGroup
		for i, b := range builds {
			all.Go(func() { out[i].Result, out[i].Err = Solve(ctx, w, b, bases, d, o) })
		}
		all.Wait()
		return out
	}
	s := &together{worker: w, options: o, began: time.Now()}
	for i, b := range builds {
		reading, err := ReadInputs(ctx, b, nil, w.Host, o)
		if err != nil {
			out[i].Err = err
			continue
		}
		s.parts = append(s.parts, &part{build: b, reading: reading, outcome: &out[i]})
	}
	if len(s.parts) > 0 {
		s.solve(ctx, d)
	}
	return out
}

// together is one solve of several platforms.
type together struct {
	worker  *worker.Worker
	options Options
	began   time.Time
	parts   []*part
}

// part is one of them.
type part struct {
	build   *plan.Build
	reading *inputs.Reading
	outcome *Outcome
	err     error // of its own steps
}

func (t *together) solve(ctx context.Context, d *Display) {
	first := t.parts[0].build
	opt, err := solveOpt(first, nil, t.options)
	if err != nil {
		t.fail(func(b *plan.Build) error { return invalid(b, err) })
		return
	}
	var readings []*inputs.Reading
	var repositories, names []string
	for _, p := range t.parts {
		readings, names = append(readings, p.reading), append(names, p.build.PlatformName())
		repositories = append(repositories, p.reading.Repositories(ctx)...)
	}
	if err := inputs.Watch(opt, readings...); err != nil {
		t.fail(func(*plan.Build) error { return err })
		return
	}
	opt.Session = append(opt.Session, t.worker.Auth(logins(first, opt, repositories, t.options)...))
	frontend := opt.Frontend
	opt.FrontendAttrs["platform"] = strings.Join(names, ",")
	resp, s, err := push(ctx, t.worker, first, false, t.options, func() (*client.SolveResponse, *stream, bool, error) {
		s := d.startAll(first.Target.Name, t.worker.Name)
		defer s.wait()
		made := false
		resp, err := t.worker.Client.Build(ctx, *opt, "", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
			res, err := t.each(ctx, c, frontend)
			made = err == nil
			return res, err
		}, s.channel)
		return resp, s, made, err
	})
	var images map[string]ocispecs.Descriptor
	if err == nil {
		images, err = t.pushed(ctx, first.Repository, resp.ExporterResponse)
	}
	for _, p := range t.parts {
		p.end(ctx, t, s, images, err)
	}
}

func (t *together) fail(why func(*plan.Build) error) {
	for _, p := range t.parts {
		p.outcome.Err = why(p.build)
	}
}

// each has every platform built by the frontend on its own, so that each has an
// error of its own, and puts the images together that there are.
func (t *together) each(ctx context.Context, c gateway.Client, frontend string) (*gateway.Result, error) {
	results := make([]*gateway.Result, len(t.parts))
	var all sync.WaitGroup
	for i, p := range t.parts {
		if p.err != nil {
			continue // in an attempt before
		}
		all.Go(func() {
			attrs := maps.Clone(c.BuildOpts().Opts)
			attrs["platform"], attrs["multi-platform"] = p.build.PlatformName(), "true"
			results[i], p.err = c.Solve(ctx, gateway.SolveRequest{Frontend: frontend, FrontendOpt: attrs, Evaluate: true})
			if at := created(p.build, t.options); p.err == nil && at != nil {
				p.err = date(results[i].Metadata, *at)
			}
		})
	}
	all.Wait()
	out := gateway.NewResult()
	var list exptypes.Platforms
	for i, p := range t.parts {
		if p.err != nil {
			continue
		}
		var has exptypes.Platforms
		if p.err = json.Unmarshal(results[i].Metadata[exptypes.ExporterPlatformsKey], &has); p.err != nil {
			continue
		}
		list.Platforms = append(list.Platforms, has.Platforms...)
		for k, v := range results[i].Metadata {
			out.AddMeta(k, v)
		}
		for id, ref := range results[i].Refs {
			out.AddRef(id, ref)
		}
	}
	if len(list.Platforms) == 0 {
		return nil, errors.New("no platform could be built")
	}
	raw, err := json.Marshal(list)
	out.AddMeta(exptypes.ExporterPlatformsKey, raw)
	return out, err
}

// pushed finds the image of each platform in the index that was pushed.
func (t *together) pushed(ctx context.Context, repository string, answer map[string]string) (map[string]ocispecs.Descriptor, error) {
	index, err := pushed(answer)
	if err != nil {
		return nil, fmt.Errorf("reading BuildKit's answer: %w", err)
	}
	_, raw, err := t.options.Registry.Manifest(ctx, repository+"@"+index.Digest.String())
	if err != nil {
		return nil, err
	}
	var list ocispecs.Index
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("reading the index %s: %w", index.Digest, err)
	}
	out := map[string]ocispecs.Descriptor{}
	for _, m := range list.Manifests {
		if m.Platform != nil {
			out[config.FormatPlatform(platforms.Normalize(*m.Platform))] = ocispecs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size}
		}
	}
	return out, nil
}

// end says how a part ended; err is what became of all.
func (p *part) end(ctx context.Context, t *together, s *stream, images map[string]ocispecs.Descriptor, err error) {
	name := p.build.PlatformName()
	desc, ok := images[name]
	var unreadable *inputs.UnreadableError
	switch {
	case p.err != nil:
		p.outcome.Err = failure(ctx, p.err, p.build, t.worker, s, false, t.options)
	case err != nil:
		p.outcome.Err = ofBuild(err, p.build)
	default:
		unreadable = p.reading.Unreadable()
	}
	switch {
	case p.outcome.Err != nil:
	case unreadable != nil:
		p.outcome.Err = &Error{Build: p.build.ID(), Err: unreadable, Hint: unreadable.Remedy()}
	case !ok:
		p.outcome.Err = fmt.Errorf("building %s: BuildKit's answer has no image of it", p.build.ID())
	default:
		steps, cached := s.counts(name)
		p.outcome.Result = &Result{Descriptor: desc, Inputs: p.reading.Sent(), Changed: p.reading.Changed(), Steps: steps, Cached: cached, Duration: time.Since(t.began)}
	}
}

// ofBuild makes the error of a solve of several one of them's.
func ofBuild(err error, b *plan.Build) error {
	var own *Error
	if !errors.As(err, &own) {
		return err
	}
	out := *own
	out.Build = b.ID()
	return &out
}
