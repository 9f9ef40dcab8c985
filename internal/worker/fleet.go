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
	// Full workers have no room on their disk.
	Full bool
	Err  error
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
	// patience how long it may take: both together bound how long a hung
	// worker holds a build up.
	beat     = time.Second
	patience = 5 * time.Second
	// retry is how often a lost worker is tried again, and refill one whose disk
	// was full: it may have been pruned meanwhile.
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
	worker *Worker // nil until it has answered once
	err    error   // why it is down
	full   bool
	leases map[*lease]struct{}
}

// lease is a slot of a worker for one build.
type lease struct {
	member *member
	worker *Worker
	cancel context.CancelCauseFunc
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

// Do runs a build on a worker as soon as one is free. When run returns a *Lost,
// or the worker is lost under it, it runs on another; moved tells from where to
// where. A worker that is lost twice under the same build, or has no room for
// it, is not given it again: the build may be what kills it. Any other error of
// run is final. run must return once its context has ended and the worker's
// connection is closed.
func (f *Fleet) Do(ctx context.Context, j *Job, id string, moved func(from string, why error), run func(context.Context, *Worker) error) error {
	losses := map[int]int{}
	none := &NoneError{Build: id, Hint: "look after the workers (`mage workers`) and what the build needs of memory and disk, then run the same command again: what was built is kept"}
	for {
		l, leaseCtx, err := f.acquire(ctx, j, id)
		if err != nil {
			return err
		}
		err = attempt(leaseCtx, l.worker, run)
		var lost *Lost
		if cause := context.Cause(leaseCtx); err != nil && errors.As(cause, &lost) {
			err = cause
		}
		if ctx.Err() == nil && errors.As(err, &lost) {
			f.drop(l.member, l.worker, lost)
		}
		f.release(l)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if lost == nil {
			return err
		}
		w := l.member.index
		if losses[w]++; losses[w] > 1 || lost.Full {
			none.Reasons = append(none.Reasons, fmt.Sprintf("%s was lost under it (%v)", l.worker.Name, lost.Err))
			j.Native, j.Foreign = without(j.Native, w), without(j.Foreign, w)
		}
		if len(j.Native)+len(j.Foreign) == 0 {
			return none
		}
		moved(l.worker.Name, lost.Err)
	}
}

func without(list []int, n int) []int {
	return slices.DeleteFunc(slices.Clone(list), func(o int) bool { return o == n })
}

// attempt runs a build. Where it is interrupted, a daemon that hangs is not
// waited for; where its worker is lost, the closed connection ends it.
func attempt(ctx context.Context, w *Worker, run func(context.Context, *Worker) error) error {
	done := make(chan error, 1)
	go func() { done <- run(ctx, w) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	var lost *Lost
	if errors.As(context.Cause(ctx), &lost) {
		return <-done
	}
	select {
	case err := <-done:
		return err
	case <-time.After(3 * time.Second):
		return context.Cause(ctx)
	}
}

// acquire waits for a slot.
func (f *Fleet) acquire(ctx context.Context, j *Job, id string) (*lease, context.Context, error) {
	leaseCtx, cancel := context.WithCancelCause(ctx)
	granted := make(chan *lease, 1)
	f.mu.Lock()
	f.waiting[j] = granted
	f.board.Put(j)
	f.place()
	f.mu.Unlock()
	var deserted <-chan time.Time
	for {
		f.mu.Lock()
		changed, served := f.changed, f.board.Served(j)
		f.mu.Unlock()
		if served {
			deserted = nil
		} else if deserted == nil {
			deserted = time.After(grace)
		}
		select {
		case l := <-granted:
			l.cancel = cancel
			f.mu.Lock()
			l.member.leases[l] = struct{}{}
			down := l.member.err
			if down == nil && l.member.worker != l.worker {
				down = &Lost{Worker: l.worker.Name, Err: errors.New("it was lost and is back, over a new connection")}
			}
			f.mu.Unlock()
			if ctx.Err() != nil {
				f.release(l)
				return nil, nil, context.Cause(ctx)
			}
			if down != nil { // between the grant and now
				cancel(down)
			}
			return l, leaseCtx, nil
		case <-ctx.Done():
			f.withdraw(j, granted)
			cancel(nil)
			return nil, nil, context.Cause(ctx)
		case <-deserted:
			f.withdraw(j, granted)
			cancel(nil)
			return nil, nil, f.desertion(j, id)
		case <-changed:
		}
	}
}

// withdraw takes a job back that has not been placed, or gives back the slot it
// was placed on meanwhile.
func (f *Fleet) withdraw(j *Job, granted chan *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.board.Remove(j)
	delete(f.waiting, j)
	select {
	case l := <-granted:
		f.board.Free(l.member.index)
		f.place()
	default:
	}
}

func (f *Fleet) desertion(j *Job, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := &NoneError{Build: id, Hint: "look after the workers (`mage workers`) and run the same command again: what was built is kept"}
	for _, w := range append(slices.Clone(j.Native), j.Foreign...) {
		m := f.members[w]
		e.Reasons = append(e.Reasons, fmt.Sprintf("%s is gone (%v)", m.spec.Name, m.err))
	}
	return e
}

// place hands out free slots. The caller holds the lock.
func (f *Fleet) place() {
	for {
		j, w, ok := f.board.Next()
		if !ok {
			return
		}
		m := f.members[w]
		f.waiting[j] <- &lease{member: m, worker: m.worker}
		delete(f.waiting, j)
	}
}

func (f *Fleet) release(l *lease) {
	l.cancel(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(l.member.leases, l)
	f.board.Free(l.member.index)
	f.place()
}
