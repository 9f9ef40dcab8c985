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
