package worker

import (
	"context"
	"fmt"
	"time"
)

// watch asks a worker for signs of life while it builds, and tries a lost one
// again, until the fleet is closed.
func (f *Fleet) watch(m *member) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	var tried time.Time
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		w, down, builds := m.worker, m.err != nil, len(m.leases) > 0
		if !m.full.IsZero() && time.Since(m.full) >= refill {
			m.full = time.Time{}
			f.board.SetFull(m.index, false)
			f.place()
		}
		if !down {
			tried = time.Now()
		}
		f.mu.Unlock()
		switch {
		case down && time.Since(tried) >= retry:
			f.revive(m)
			tried = time.Now()
		case !down && builds:
			if err := w.beat(f.ctx); err != nil && f.ctx.Err() == nil {
				f.drop(m, w, &Lost{Worker: w.Name, Err: err})
			}
		}
	}
}

// beat is one sign of life: an answer of the daemon. It may take as long as
// bytes move over the connection; without either, the worker is gone.
func (w *Worker) beat(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := time.Now()
	answered := make(chan error, 1)
	go func() {
		_, err := w.Client.Info(ctx)
		answered <- err
	}()
	quiet := time.NewTimer(patience)
	defer quiet.Stop()
	for {
		select {
		case err := <-answered:
			switch {
			case err == nil:
				return nil
			case ctx.Err() != nil:
				return context.Cause(ctx)
			}
			return reason(err)
		case <-quiet.C:
		}
		silence := w.pulse.silence(begin)
		if silence >= patience {
			return fmt.Errorf("no sign of life within %s", patience)
		}
		quiet.Reset(patience - silence)
	}
}

// drop takes a worker out and its builds away from it, unless it is out
// already, or is another connection by now.
func (f *Fleet) drop(m *member, w *Worker, lost *Lost) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.err != nil || m.worker != w {
		return
	}
	m.err = lost
	f.board.SetUp(m.index, false)
	for l := range m.leases {
		l.cancel(lost)
	}
	go func() { _ = w.Close() }() // whatever still waits for its answer ends
	f.change()
	if f.say != nil {
		f.say(fmt.Sprintf("worker %s is lost: %v", m.spec.Name, lost.Err))
	}
}

// fill notes that a worker has no room for a build. Its other builds go on: they
// may need less.
func (f *Fleet) fill(m *member, id string, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.full = time.Now()
	f.board.SetFull(m.index, true)
	if f.say != nil {
		f.say(fmt.Sprintf("worker %s is lost to %s, which it has no room for: %v", m.spec.Name, id, why))
	}
}

// change wakes those who wait for a worker. The caller holds the lock.
func (f *Fleet) change() {
	close(f.changed)
	f.changed = make(chan struct{})
	f.place()
}

// revive connects to a lost worker again.
func (f *Fleet) revive(m *member) {
	w, err := f.dial(f.ctx, m.spec)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.worker, m.err = w, nil
	f.board.SetUp(m.index, true)
	f.change()
	if f.say != nil {
		f.say(fmt.Sprintf("worker %s is back", m.spec.Name))
	}
}
