// Package build makes one platform of one target: it prepares, solves on a
// BuildKit worker and returns the descriptor of what was pushed by digest.
package build

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/inputs"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/worker"
)

// Options hold for all builds of a release.
type Options struct {
	// Dir is what the paths of targets.hcl are relative to.
	Dir string
	// LookupEnv gives the workstation's environment.
	LookupEnv func(string) (string, bool)
	// Environ is the whole environment, for prepare commands.
	Environ []string
	// Epoch clamps all timestamps (SOURCE_DATE_EPOCH), nil for none. See
	// https://reproducible-builds.org/specs/source-date-epoch/.
	Epoch *time.Time
	// Checkout is what is built; nil asks git again for every build.
	Checkout *Checkout
	// Insecure are registry hosts spoken to over plain HTTP or without
	// verifying certificates.
	Insecure func(host string) bool
	// DockerMediaTypes makes the image of Docker's media types, not OCI's.
	DockerMediaTypes bool
	// Strip leaves attestations out.
	Strip bool
	// Logins are registries and repositories that a daemon gets logins for,
	// besides what a build itself names.
	Logins []string
	// Docker is Docker's configuration, for its proxies; nil is an empty one.
	Docker *configfile.ConfigFile
	// Registry and Scratch, a directory, serve workers that reach no registry:
	// images pass through here.
	Registry Registry
	Scratch  string
	// Unpushed says that Registry is none: what is built stays on this machine.
	Unpushed bool
	// Inputs reads what builds are made from.
	Inputs *inputs.Reader
}

// Base is an image that another build of this release has pushed, by digest.
type Base struct {
	Repository string
	Descriptor ocispecs.Descriptor

	parcel *parcel // holds it, for a worker that reaches no registry
}

// Result is a build that was pushed.
type Result struct {
	// Descriptor of the manifest, or of the one-platform index that BuildKit
	// makes where there are attestations.
	Descriptor ocispecs.Descriptor
	// Inputs are what it was built from. Something is unknown of them if the
	// daemon was given anything else than had been read.
	Inputs inputs.Inputs
	// Changed are the files that changed while it was built.
	Changed []string
	// Steps and Cached count the steps of the Dockerfile; where several platforms
	// were solved together, those that name this one or none, else all.
	Steps, Cached int
	Duration      time.Duration

	parcel *parcel // holds the image, where it is not pushed
}

// Base is what others are built on.
func (r *Result) Base(b *plan.Build) Base {
	return Base{Repository: b.Repository, Descriptor: r.Descriptor, parcel: r.parcel}
}

// Error is a build that failed by its own fault: another worker would fail
// alike.
type Error struct {
	// Build is the plan's name of it: "hello linux/arm/v6".
	Build string
	// Step is the Dockerfile step, "" where none had begun.
	Step string
	// Log is the end of the step's output.
	Log []string
	// Source shows the Dockerfile around the step, if BuildKit tells.
	Source string
	Err    error
	Hint   string
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "building %s", e.Build)
	if e.Step != "" {
		fmt.Fprintf(&b, ", step %s", e.Step)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	for _, l := range e.Log {
		b.WriteString("\n  | " + l)
	}
	if e.Source != "" {
		b.WriteString("\n" + e.Source)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *Error) Remedy() string { return e.Hint }

// Solve builds b on a worker and pushes it by digest. Bases are by context
// name. The display shows the solve as it goes. A *worker.Lost is the worker's
// error, an *Error the build's own.
func Solve(ctx context.Context, w *worker.Worker, b *plan.Build, bases map[string]Base, d *Display, o Options) (*Result, error) {
	start := time.Now()
	var p *parcel
	reading, err := ReadInputs(ctx, b, bases, w.Host, o)
	if err != nil {
		return nil, err
	}
	back := carried(w, b.Repository) || b.Passed
	if back || slices.ContainsFunc(slices.Collect(maps.Values(bases)), func(base Base) bool { return fetched(w, base) }) {
		if p, err = newParcel(o.Scratch); err != nil {
			return nil, err
		}
		if !b.Passed { // else it serves what is built on it, and goes with the scratch directory
			defer p.remove()
		}
		if bases, err = p.fetchAll(ctx, o.Registry, w, bases); err != nil {
			return nil, err
		}
	}
	opt, err := solveOpt(b, bases, o)
	if err != nil {
		return nil, invalid(b, err)
	}
	image := slices.IndexFunc(opt.Exports, func(e client.ExportEntry) bool { return e.Type == client.ExporterImage })
	if back && image >= 0 {
		opt.Exports[image] = p.export(opt.Exports[image])
	}
	if err := inputs.Watch(opt, reading); err != nil {
		return nil, err
	}
	opt.Session = append(opt.Session, w.Auth(logins(b, opt, reading.Repositories(ctx), o)...))
	resp, s, err := push(ctx, w, b, back || image < 0, o, func() (*client.SolveResponse, *stream, bool, error) {
		s := d.start(b.ID(), w.Name)
		defer s.wait()
		resp, made, err := solve(ctx, w.Client, *opt, created(b, o), s.channel)
		return resp, s, made, err
	})
	if err != nil {
		return nil, err
	}
	if err := reading.Unreadable(); err != nil {
		return nil, &Error{Build: b.ID(), Err: err, Hint: err.Remedy()}
	}
	var desc ocispecs.Descriptor
	if image >= 0 {
		if desc, err = pushed(resp.ExporterResponse); err != nil {
			return nil, fmt.Errorf("reading BuildKit's answer for %s: %w", b.ID(), err)
		}
	}
	if back && b.Repository != "" {
		text := "pushing from this machine to " + b.Repository
		if o.Unpushed {
			text = "storing on this machine"
		}
		up := d.step(b.ID(), text)
		err := p.push(ctx, o.Registry, b.Repository, desc)
		up.done(err)
		if err != nil {
			return nil, err
		}
	}
	steps, cached := s.counts(b.PlatformName())
	if !b.Passed {
		p = nil
	}
	return &Result{Descriptor: desc, parcel: p, Inputs: reading.Sent(), Changed: reading.Changed(), Steps: steps, Cached: cached, Duration: time.Since(start)}, nil
}
