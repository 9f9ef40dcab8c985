package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// lease is a slot of a worker for one build.
type lease struct {
	member *member
	worker *Worker
	cancel context.CancelCauseFunc
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
	a := &attempts{fleet: f, job: j, losses: map[int]int{}}
	a.none = NoneError{Build: id, Hint: "look after the workers (`mage workers`) and what the build needs of memory and disk, then run the same command again: what was built is kept"}
	for {
		l, leaseCtx, err := f.acquire(ctx, j, id)
		if err != nil {
			return err
		}
		err = attempt(leaseCtx, l.worker, run)
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
