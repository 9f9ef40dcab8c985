package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/audit"
	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/worker"
)

// ReproduceOptions say what to build again. Its selection narrows the release.
type ReproduceOptions struct {
	Selection
	// Ref is a published image, Release the id of a release or the beginning of
	// one. Without either it is the newest release.
	Ref, Release string
	JSON         bool
}

// Reproduction is one platform that was built again.
type Reproduction struct {
	Target   string `json:"target"`
	Platform string `json:"platform"`
	// Released is what the release has, Rebuilt what came out this time.
	Released digest.Digest `json:"released"`
	Rebuilt  digest.Digest `json:"rebuilt"`
	// Worker built it this time.
	Worker string `json:"worker"`
	// Difference is where the images differ, nil if they are the same. Two
	// digests may differ by their attestations alone.
	Difference *audit.Difference `json:"difference,omitempty"`
}

// DifferenceError is a release that came out differently the second time.
type DifferenceError struct{ Differences []string }

func (e *DifferenceError) Error() string { return strings.Join(e.Differences, "\n") }

// Remedy is what to do next.
func (e *DifferenceError) Remedy() string {
	return `make the step that is named give the same bytes every time: pin what it downloads, sort what it lists, leave out times and random names`
}

// Reproduce builds a release again and compares: from a clone of its commit at
// another path, with other modes and times, without cache, and on another worker
// where there is one. Nothing is pushed.
func (w *Workspace) Reproduce(ctx context.Context, o ReproduceOptions) error {
	was, err := w.released(ctx, o)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "archmage-reproduce-")
	if err != nil {
		return fmt.Errorf("making room for a clone: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is all made again the next time
	below, err := cloneCommit(ctx, w.Dir, filepath.Join(dir, "elsewhere"), was.Commit)
	if err != nil {
		return interrupted(ctx, err)
	}
	w.say("building commit %s again in a clone, without cache", was.Commit[:min(12, len(was.Commit))])
	restore := privateUmask()
	defer restore()
	again := *w
	again.Dir = filepath.Join(dir, "elsewhere", below)
	again.journal = journal.Open(filepath.Join(again.Dir, journal.Dir))
	if was.Epoch != nil {
		again.Environ = append(slices.Clone(w.Environ), "SOURCE_DATE_EPOCH="+strconv.FormatInt(*was.Epoch, 10))
	}
	rebuilt := &blobs{dir: filepath.Join(dir, "blobs")}
	all, client, err := again.rebuild(ctx, o.Selection, was, rebuilt)
	if err != nil {
		return interrupted(ctx, err)
	}
	for _, r := range all {
		if r.Rebuilt == r.Released {
			continue
		}
		repo := childOf(was, r.Target, r.Platform).Repository
		r.Difference, err = audit.Compare(ctx, client, repo+"@"+r.Released.String(), rebuilt, repo+"@"+r.Rebuilt.String())
		if err != nil {
			return interrupted(ctx, err)
		}
	}
	return w.showReproduced(was, all, o.JSON)
}

// released is the record of what shall be built again.
func (w *Workspace) released(ctx context.Context, o ReproduceOptions) (*journal.Record, error) {
	var r *journal.Record
	what := "the newest release"
	switch {
	case o.Ref != "" && o.Release != "":
		return nil, usage("Too many options", errors.New("-ref and -release both name what to build again"))
	case o.Ref != "":
		what = o.Ref
		p := &plan.Plan{}
		if c, diags := config.Load(config.Options{Dir: w.Dir, Files: w.files(), LookupEnv: w.LookupEnv, Environ: w.Environ}); !diags.HasErrors() {
			p.Registries = c.Registries
		}
		client, err := w.client(p)
		if err != nil {
			return nil, err
		}
		desc, err := client.Head(ctx, o.Ref)
		if err != nil {
			return nil, interrupted(ctx, err)
		}
		if r = w.attached(ctx, client, o.Ref, desc.Digest); r == nil {
			return nil, usage("Not a release", fmt.Errorf("no record of a release is attached to %s, so its commit is unknown", o.Ref))
		}
		// The record is of all targets; one image was asked for.
		for _, t := range r.Targets {
			if t.Index != desc.Digest && !t.Linked {
				t.Children = nil
			}
		}
	default:
		records, err := w.local()
		if err != nil {
			return nil, err
		}
		if o.Release != "" {
			what = "release " + o.Release
			if r, err = record(records, o.Release); err != nil {
				return nil, err
			}
			break
		}
		for _, one := range records {
			if one.Kind == journal.Release && one.Reached(journal.Built) {
				r = one
			}
		}
		if r == nil {
			return nil, &journal.NoRecordError{Dir: w.path(), Want: "no build was recorded"}
		}
	}
	switch {
	case r.Commit == "":
		return nil, usage("Unknown sources", fmt.Errorf("%s was not built in a git checkout, or by an archmage that did not note the commit", what))
	case r.Dirty:
		return nil, usage("Unknown sources", fmt.Errorf("%s was built from files that differed from commit %s, and nobody has them", what, r.Commit))
	case r.Epoch == nil:
		return nil, usage("Times of its own", fmt.Errorf(`%s was built with SOURCE_DATE_EPOCH="", so that its files have the times of that day`, what))
	}
	return r, nil
}

// childOf is the record of a platform of a target, or nil.
func childOf(r *journal.Record, target, platform string) *journal.Child {
	if t := r.Target(target); t != nil {
		return t.Child(platform)
	}
	return nil
}

// rebuild builds what the record holds, and returns it in the plan's order.
func (w *Workspace) rebuild(ctx context.Context, s Selection, was *journal.Record, to *blobs) ([]*Reproduction, *registry.Client, error) {
	if len(s.Targets) == 0 {
		for _, t := range was.Targets {
			if !t.Linked && len(t.Children) > 0 {
				s.Targets = append(s.Targets, t.Name)
			}
		}
	}
	p, err := w.loadPublishable(s)
	if err != nil {
		return nil, nil, err
	}
	if err := w.journal.Make(); err != nil {
		return nil, nil, err
	}
	client, err := w.client(p)
	if err != nil {
		return nil, nil, err
	}
	if err := w.registries(ctx, p, client); err != nil {
		return nil, nil, err
	}
	for _, spec := range p.Workers {
		spec.Push = "client" // to the clone's directory, and no further
	}
	fleet, err := w.connectFleet(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	defer fleet.Close()
	display, err := w.display(p)
	if err != nil {
		return nil, nil, err
	}
	defer display.Close()
	checkout, epoch, err := w.checkout(ctx)
	if err != nil {
		return nil, nil, err
	}
	options := w.solves(p, client, &journal.Record{}, nil, epoch, checkout).options
	options.Registry, options.Unpushed = to, true
	run := &rebuilding{was: was, fleet: fleet, display: display, done: map[*plan.Build]*outcome{}, workers: p.Workers, options: options}
	all, err := run.all(ctx, p)
	return all, client, err
}

// rebuilding builds each platform of a release again, as soon as its bases are
// there.
type rebuilding struct {
	was     *journal.Record
	fleet   *worker.Fleet
	workers []*config.Worker
	display *build.Display
	options build.Options
	done    map[*plan.Build]*outcome
}

func (r *rebuilding) all(ctx context.Context, p *plan.Plan) ([]*Reproduction, error) {
	var builds []*plan.Build
	for _, b := range p.Builds() {
		if childOf(r.was, b.Target.Name, b.PlatformName()) != nil {
			builds = append(builds, b)
			r.done[b] = &outcome{ended: make(chan struct{})}
		}
	}
	if len(builds) == 0 {
		return nil, usage("Nothing to build", errors.New("the release has none of the targets and platforms that were asked for"))
	}
	out := make([]*Reproduction, len(builds))
	for i, b := range builds {
		go func() {
			o := r.done[b]
			defer close(o.ended)
			out[i], o.err = r.one(ctx, b)
			if o.err == nil {
				o.base.Repository = b.Repository
				o.base.Descriptor.Digest = out[i].Rebuilt
			}
		}()
	}
	var errs []error
	for _, b := range builds {
		<-r.done[b].ended
		if err := r.done[b].err; err != nil && !errors.Is(err, errBase) {
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

func (r *rebuilding) one(ctx context.Context, b *plan.Build) (*Reproduction, error) {
	bases := map[string]build.Base{}
	for name, need := range b.Needs {
		o := r.done[need]
		if o == nil {
			return nil, fmt.Errorf("building %s: %w", b.ID(), errBase)
		}
		<-o.ended
		if o.err != nil {
			return nil, fmt.Errorf("building %s: %w", b.ID(), errBase)
		}
		bases[name] = o.base
	}
	noCache := true
	b.Spec.NoCache = &noCache
	was := childOf(r.was, b.Target.Name, b.PlatformName())
	job, err := r.fleet.Job(b.ID(), b.Platform, "", 0)
	if err != nil {
		return nil, err
	}
	job.Native, job.Foreign = r.others(job.Native, was.Worker), r.others(job.Foreign, was.Worker)
	if err := build.Prepare(ctx, b, r.display, r.options); err != nil {
		return nil, err
	}
	out := &Reproduction{Target: b.Target.Name, Platform: b.PlatformName(), Released: was.Digest}
	err = r.fleet.Do(ctx, job, b.ID(),
		func(from string, why error) { r.display.Moved(b.ID(), from, why) },
		func(ctx context.Context, w *worker.Worker) error {
			res, err := build.Solve(ctx, w, b, bases, r.display, r.options)
			if err == nil {
				out.Worker, out.Rebuilt = w.Name, res.Descriptor.Digest
				r.done[b].base.Descriptor = res.Descriptor
			}
			return err
		})
	return out, err
}

// others leaves out the worker that built the release, if there are others.
func (r *rebuilding) others(workers []int, name string) []int {
	others := slices.DeleteFunc(slices.Clone(workers), func(i int) bool { return r.workers[i].Name == name })
	if len(others) == 0 {
		return workers
	}
	return others
}

// showReproduced prints what came out; a difference is the error.
func (w *Workspace) showReproduced(was *journal.Record, all []*Reproduction, asJSON bool) error {
	var differ []string
	attested := 0
	for _, r := range all {
		id := r.Target + " " + r.Platform
		switch {
		case r.Difference != nil:
			differ = append(differ, fmt.Sprintf("%s: %s, built again %s: %s", id, r.Released, r.Rebuilt, r.Difference))
		case r.Rebuilt != r.Released:
			attested++
		}
		if !asJSON && r.Difference == nil {
			if _, err := fmt.Fprintf(w.Streams.Out, "%s %s@%s\n", id, childOf(was, r.Target, r.Platform).Repository, r.Released); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
	}
	if asJSON {
		if err := w.writeJSON(all); err != nil {
			return err
		}
	}
	also := ""
	if attested > 0 {
		also = fmt.Sprintf("; %d of them with other attestations, which name times", attested)
	}
	w.say("reproduced %d of %d images of commit %s%s", len(all)-len(differ), len(all), was.Commit, also)
	if len(differ) > 0 {
		return &DifferenceError{Differences: differ}
	}
	return nil
}
