package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// Lost is an error of the worker, not of the build: it went away or cannot
// hold what it builds, and another worker may succeed.
type Lost struct {
	Worker string
	// Full workers have no room on their disk, as the daemon itself reports.
	Full bool
	// Own is what the build failed with, where it may be its own fault after
	// all: then it is tried once more at most, and fails with this.
	Own error
	Err error
}

func (e *Lost) Error() string { return fmt.Sprintf("worker %q was lost: %v", e.Worker, e.Err) }

func (e *Lost) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *Lost) Remedy() string {
	if e.Full {
		return "make room on the worker, for example with `mage wipe -workers`"
	}
	return "look after the worker (`mage workers`) and run the same command again: what was built is kept"
}

// Intervals of a fleet's watch over its workers.
const (
	// beat is how often a worker that builds is asked for a sign of life, and
	// patience how long neither an answer may come nor a byte move: both
	// together bound how long a hung worker holds a build up.
	beat     = time.Second
	patience = 5 * time.Second
	// retry is how often a lost worker is tried again, and refill how long one
	// whose disk was full comes last: it may have been pruned meanwhile.
	retry  = 3 * time.Second
	refill = time.Minute
	// grace is how long a build waits for any worker to come back.
	grace = 30 * time.Second
)

// Dialer opens the connection to a worker.
type Dialer func(ctx context.Context, spec *config.Worker) (*Worker, error)

// Fleet is the workers of a release, watched while it runs. Builds go to the
// least loaded of those that may do them; a worker that is lost loses its
// builds to the others and is tried again.
type Fleet struct {
	dial      Dialer
	say       func(string)
	emulation string
	ctx       context.Context //nolint:containedctx // the watch's life is the fleet's, not a call's
	stop      context.CancelCauseFunc
	watches   sync.WaitGroup

	mu      sync.Mutex
	board   *Board
	members []*member
	waiting map[*Job]chan *lease
	changed chan struct{} // closed and replaced when a worker comes or goes
}

// member is a worker's place in the fleet.
type member struct {
	index  int
	spec   *config.Worker
	worker *Worker   // nil until it has answered once
	err    error     // why it is down
	full   time.Time // when its disk was full; zero where it is not
	leases map[*lease]struct{}
}

// OpenFleet connects to all workers at once. It fails only when none answers;
// who does not is said, and tried again while the fleet is open.
func OpenFleet(ctx context.Context, specs []*config.Worker, emulation string, dial Dialer, say func(string)) (*Fleet, error) {
	f := &Fleet{dial: dial, say: say, emulation: emulation, waiting: map[*Job]chan *lease{}, changed: make(chan struct{})}
	f.ctx, f.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	slots := make([]int, len(specs))
	var connecting sync.WaitGroup
	for i, s := range specs {
		slots[i] = s.Slots
		if slots[i] == 0 {
			slots[i] = DefaultSlots
		}
		m := &member{index: i, spec: s, leases: map[*lease]struct{}{}}
		f.members = append(f.members, m)
		connecting.Go(func() { m.worker, m.err = dial(ctx, s) })
	}
	connecting.Wait()
	f.board = NewBoard(slots)
	if ctx.Err() != nil {
		f.Close()
		return nil, context.Cause(ctx)
	}
	var errs []error
	for _, m := range f.members {
		if m.err != nil {
			errs = append(errs, m.err)
			f.board.SetUp(m.index, false)
		}
	}
	if len(errs) == len(f.members) {
		f.Close()
		return nil, errors.Join(errs...)
	}
	for _, m := range f.members {
		f.watches.Go(func() { f.watch(m) })
	}
	return f, nil
}

// Workers are those that have answered, in declared order.
func (f *Fleet) Workers() []*Worker {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*Worker
	for _, m := range f.members {
		if m.worker != nil {
			out = append(out, m.worker)
		}
	}
	return out
}

// Down are the errors of the workers that do not answer.
func (f *Fleet) Down() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []error
	for _, m := range f.members {
		if m.err != nil {
			out = append(out, m.err)
		}
	}
	return out
}

// Close ends all connections. No Do may run any more.
func (f *Fleet) Close() {
	f.stop(errors.New("the fleet was closed"))
	f.watches.Wait()
	for _, m := range f.members {
		if m.worker != nil {
			_ = m.worker.Close() // there is nobody left to care
		}
	}
}

// NoneError says that no worker may build a platform, or that none of those
// that may is left.
type NoneError struct {
	Build   string
	Reasons []string
	Hint    string
}

func (e *NoneError) Error() string {
	return fmt.Sprintf("no worker for %s: %s", e.Build, strings.Join(e.Reasons, "; "))
}

// Remedy is what to do next.
func (e *NoneError) Remedy() string { return e.Hint }

// Job finds who may build a platform. id names the build in errors, last the
// worker that built it last time.
func (f *Fleet) Job(id string, p ocispecs.Platform, last string, weight time.Duration) (*Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := &Job{Last: -1, Weight: weight}
	none := &NoneError{Build: id, Hint: `add a worker for the platform, list it in a worker's emulates, or set release { emulation = "warn" }`}
	for _, m := range f.members {
		switch r := m.may(p, f.emulation); r.how {
		case asNative:
			j.Native = append(j.Native, m.index)
		case asForeign:
			j.Foreign = append(j.Foreign, m.index)
		default:
			none.Reasons = append(none.Reasons, m.spec.Name+" "+r.why)
			continue
		}
		if m.spec.Name == last {
			j.Last = m.index
		}
	}
	if len(j.Native)+len(j.Foreign) == 0 {
		return nil, none
	}
	return j, nil
}

// how a worker may build a platform.
type how int

const (
	mayNot how = iota
	asNative
	asForeign
)

type verdict struct {
	how how
	why string
}

// may says how the member builds p: by declaration, else by what it reported.
func (m *member) may(p ocispecs.Platform, emulation string) verdict {
	switch {
	case m.worker != nil && m.worker.Builds(p), contains(m.spec.Platforms, p):
		return verdict{how: asNative}
	case emulation == "forbid":
		return verdict{why: "does not build it natively, and emulation is forbidden"}
	case contains(m.spec.Emulates, p):
		return verdict{how: asForeign}
	case len(m.spec.Platforms) > 0:
		return verdict{why: "is declared for " + strings.Join(m.spec.PlatformNames, ", ") + " only"}
	case m.worker == nil:
		return verdict{why: fmt.Sprintf("does not answer (%v)", m.err)}
	}
	return verdict{how: asForeign}
}

func contains(list []ocispecs.Platform, p ocispecs.Platform) bool {
	return slices.ContainsFunc(list, func(o ocispecs.Platform) bool { return config.FormatPlatform(o) == config.FormatPlatform(p) })
}
