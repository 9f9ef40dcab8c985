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
		w, down, builds, pause := m.worker, m.err != nil, len(m.leases) > 0, retry
		if m.full {
			pause = refill
		}
		if !down {
			tried = time.Now()
		}
		f.mu.Unlock()
		switch {
		case down && time.Since(tried) >= pause:
			f.revive(m)
			tried = time.Now()
		case !down && builds:
			if err := w.beat(f.ctx); err != nil && f.ctx.Err() == nil {
				f.drop(m, w, &Lost{Worker: w.Name, Err: err})
			}
		}
	}
}

// beat is one sign of life.
func (w *Worker) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := w.Client.Info(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("no sign of life within %s", patience)
		}
		return reason(err)
	}
	return nil
}

// drop takes a worker out and its builds away from it, unless it is out
// already, or is another connection by now.
func (f *Fleet) drop(m *member, w *Worker, lost *Lost) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.err != nil || m.worker != w {
		return
	}
	m.err, m.full = lost, lost.Full
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
	m.worker, m.err, m.full = w, nil, false
	f.board.SetUp(m.index, true)
	f.change()
	if f.say != nil {
		f.say(fmt.Sprintf("worker %s is back", m.spec.Name))
	}
}
