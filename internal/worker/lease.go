package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// lease is a slot of a worker for one build.
type lease struct {
	job    *Job
	member *member
	worker *Worker
	cancel context.CancelCauseFunc
	shared *shared // nil where it is alone
}

// Task is a build for a worker.
type Task struct {
	// ID names it in errors.
	ID  string
	Job *Job
}

// set is tasks that may share a solve; no two of them are one.
type set struct{ _ byte }

// shared is the solve of the tasks of a set that a worker got at one time. The
// first of them runs it.
type shared struct {
	jobs  []*Job
	ended chan struct{}
	errs  []error
	// released are the leases given back: the slots come free together, so that
	// another set finds room for all of it.
	released int
}

// Do runs a build on a worker as soon as one is free. When the worker is lost
// under run, or run returns a *Lost, it runs on another; moved tells from where
// and why. Any other error of run is final. What a *Lost says is not believed
// before the daemon is asked:
//
//   - One that does not answer is lost, to its other builds too. Of a build that
//     lost it twice it is not tried again: the build may be what kills it.
//   - One that answers has lost this build only, which is moved once.
//   - One without room is not given this build again; its others go on.
//
// run must return once its context has ended and the worker's connection is
// closed.
func (f *Fleet) Do(ctx context.Context, j *Job, id string, moved func(from string, why error), run func(context.Context, *Worker) error) error {
	return f.DoAll(ctx, []Task{{ID: id, Job: j}},
		func(_ int, from string, why error) { moved(from, why) },
		func(ctx context.Context, w *Worker, _ []int) []error { return []error{run(ctx, w)} })[0]
}

// DoAll does tasks as Do does one. Those that a worker gets at one time are run
// together: run is given their places in the list, and returns an error for each
// of those.
func (f *Fleet) DoAll(ctx context.Context, tasks []Task, moved func(task int, from string, why error), run func(context.Context, *Worker, []int) []error) []error {
	granted := make([]chan *lease, len(tasks))
	place := map[*Job]int{}
	together := &set{}
	f.mu.Lock()
	for i, t := range tasks {
		place[t.Job] = i
		t.Job.set = together
		granted[i] = f.put(t.Job)
	}
	f.place()
	f.mu.Unlock()
	errs := make([]error, len(tasks))
	var all sync.WaitGroup
	for i, t := range tasks {
		all.Go(func() {
			errs[i] = f.do(ctx, t, granted[i], func(from string, why error) { moved(i, from, why) }, func(ctx context.Context, w *Worker, jobs []*Job) []error {
				var list []int
				for _, j := range jobs {
					list = append(list, place[j])
				}
				return run(ctx, w, list)
			})
		})
	}
	all.Wait()
	return errs
}

// do runs a task that was put on the board.
func (f *Fleet) do(ctx context.Context, t Task, granted chan *lease, moved func(from string, why error), run func(context.Context, *Worker, []*Job) []error) error {
	a := &attempts{fleet: f, job: t.Job, losses: map[int]int{}}
	a.none = NoneError{Build: t.ID, Hint: "look after the workers (`mage workers`) and what the build needs of memory and disk, then run the same command again: what was built is kept"}
	for {
		l, leaseCtx, err := f.acquire(ctx, t.Job, t.ID, granted)
		if err != nil {
			return err
		}
		err = l.attempt(leaseCtx, run)
		var lost *Lost
		taken := false // with all of its worker
		if cause := context.Cause(leaseCtx); err != nil && errors.As(cause, &lost) {
			err, taken = cause, true
		}
		again := false
		if ctx.Err() == nil && errors.As(err, &lost) {
			again, err = a.lost(ctx, l, lost, taken)
		}
		f.release(l)
		switch {
		case err == nil && !again:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !again:
			return err
		}
		moved(l.worker.Name, lost.Err)
		f.mu.Lock()
		t.Job.set = nil // it may have been another's fault
		granted = f.put(t.Job)
		f.place()
		f.mu.Unlock()
	}
}

// attempt runs the task of a lease, or waits until the first of those that share
// the lease's solve has run it.
func (l *lease) attempt(ctx context.Context, run func(context.Context, *Worker, []*Job) []error) error {
	s := l.shared
	if s == nil {
		return attempt(ctx, l.worker, []*Job{l.job}, run)[0]
	}
	if s.jobs[0] == l.job {
		s.end(attempt(ctx, l.worker, s.jobs, run))
	}
	<-s.ended
	return s.errs[slices.Index(s.jobs, l.job)]
}

func (s *shared) end(errs []error) {
	s.errs = errs
	close(s.ended)
}

// abandon tells those that wait for the first of them that it does not run.
func (l *lease) abandon(err error) {
	if s := l.shared; s != nil && s.jobs[0] == l.job {
		s.end(slices.Repeat([]error{err}, len(s.jobs)))
	}
}

// attempts are those of one build.
type attempts struct {
	fleet  *Fleet
	job    *Job
	losses map[int]int // by worker
	broken bool        // off from a worker that answers, or failed on a full one
	none   NoneError
}

// lost finds out what became of the worker and whether the build is tried
// again; if not, err is how it ends.
func (a *attempts) lost(ctx context.Context, l *lease, lost *Lost, taken bool) (again bool, err error) {
	f, w := a.fleet, l.member.index
	exclude := func() { a.job.Native, a.job.Foreign = without(a.job.Native, w), without(a.job.Foreign, w) }
	switch {
	case lost.Full:
		if lost.Own != nil && (a.broken || !a.others(w)) {
			return false, lost.Own
		}
		a.broken = a.broken || lost.Own != nil
		f.fill(l.member, a.none.Build, lost.Err)
		a.none.Reasons = append(a.none.Reasons, fmt.Sprintf("%s has no room for it (%v)", l.worker.Name, lost.Err))
		exclude()
	case taken || l.worker.beat(ctx) != nil:
		f.drop(l.member, l.worker, lost)
		if a.losses[w]++; a.losses[w] > 1 {
			a.none.Reasons = append(a.none.Reasons, fmt.Sprintf("%s was lost under it (%v)", l.worker.Name, lost.Err))
			exclude()
		}
	case a.broken:
		if lost.Own != nil {
			return false, lost.Own
		}
		return false, lost
	default:
		a.broken = true
		if a.others(w) {
			exclude()
		}
	}
	if len(a.job.Native)+len(a.job.Foreign) == 0 {
		return false, &a.none
	}
	return true, nil
}

// others reports whether another worker than w is up that may do the job.
func (a *attempts) others(w int) bool {
	a.fleet.mu.Lock()
	defer a.fleet.mu.Unlock()
	return a.fleet.board.Served(&Job{Native: without(a.job.Native, w), Foreign: without(a.job.Foreign, w)})
}

func without(list []int, n int) []int {
	return slices.DeleteFunc(slices.Clone(list), func(o int) bool { return o == n })
}

// attempt runs builds. Where they are interrupted, a daemon that hangs is not
// waited for; where their worker is lost, the closed connection ends them.
func attempt(ctx context.Context, w *Worker, jobs []*Job, run func(context.Context, *Worker, []*Job) []error) []error {
	done := make(chan []error, 1)
	go func() { done <- run(ctx, w, jobs) }()
	select {
	case errs := <-done:
		return errs
	case <-ctx.Done():
	}
	var lost *Lost
	if errors.As(context.Cause(ctx), &lost) {
		return <-done
	}
	select {
	case errs := <-done:
		return errs
	case <-time.After(3 * time.Second):
		return slices.Repeat([]error{context.Cause(ctx)}, len(jobs))
	}
}

// put has a job wait for a slot, which comes through the channel. The caller holds
// the lock, and places.
func (f *Fleet) put(j *Job) chan *lease {
	granted := make(chan *lease, 1)
	f.waiting[j] = granted
	f.board.Put(j)
	return granted
}

// acquire waits for the slot of a job that was put on the board.
func (f *Fleet) acquire(ctx context.Context, j *Job, id string, granted chan *lease) (*lease, context.Context, error) {
	leaseCtx, cancel := context.WithCancelCause(ctx)
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
		var l *lease
		select {
		case l = <-granted:
		case <-changed:
			continue
		case <-deserted:
			if l = f.withdraw(j, granted); l == nil {
				cancel(nil)
				return nil, nil, f.desertion(j, id)
			}
		case <-ctx.Done():
			l = f.withdraw(j, granted)
		}
		if l == nil {
			cancel(nil)
			return nil, nil, context.Cause(ctx)
		}
		l.cancel = cancel
		f.mu.Lock()
		l.member.leases[l] = struct{}{}
		down := l.member.err
		if down == nil && l.member.worker != l.worker {
			down = &Lost{Worker: l.worker.Name, Err: errors.New("it was lost and is back, over a new connection")}
		}
		f.mu.Unlock()
		if ctx.Err() != nil {
			l.abandon(context.Cause(ctx))
			f.release(l)
			return nil, nil, context.Cause(ctx)
		}
		if down != nil { // between the grant and now
			cancel(down)
		}
		return l, leaseCtx, nil
	}
}

// withdraw takes a job back that has not been placed, or gives the slot it was
// placed on meanwhile.
func (f *Fleet) withdraw(j *Job, granted chan *lease) *lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.board.Remove(j)
	delete(f.waiting, j)
	select {
	case l := <-granted:
		return l
	default:
		return nil
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

// place hands out free slots; what of a set goes to one worker now shares a solve.
// The caller holds the lock.
func (f *Fleet) place() {
	type group struct {
		*set
		worker int
	}
	groups := map[group]*shared{}
	var leases []*lease
	for {
		j, w, ok := f.board.Next()
		if !ok {
			break
		}
		l := &lease{job: j, member: f.members[w], worker: f.members[w].worker}
		leases = append(leases, l)
		if j.set == nil {
			continue
		}
		g := group{j.set, w}
		if groups[g] == nil {
			groups[g] = &shared{ended: make(chan struct{})}
		}
		l.shared = groups[g]
		l.shared.jobs = append(l.shared.jobs, j)
	}
	for _, l := range leases {
		if l.shared != nil && len(l.shared.jobs) == 1 {
			l.shared = nil
		}
		f.waiting[l.job] <- l
		delete(f.waiting, l.job)
	}
}

func (f *Fleet) release(l *lease) {
	l.cancel(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(l.member.leases, l)
	slots := 1
	if s := l.shared; s != nil {
		if s.released++; s.released < len(s.jobs) {
			return
		}
		slots = len(s.jobs)
	}
	for range slots {
		f.board.Free(l.member.index)
	}
	f.place()
}
