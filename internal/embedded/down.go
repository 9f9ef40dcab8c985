package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// endLimit is how long a daemon may take to end by itself: a registry drains
// its connections, BuildKit ends its containers.
const endLimit = 5 * time.Second

// Down ends every daemon that StartWorker and StartRegistry started for this
// user and these directories, whoever called them, with all it started, and
// returns those that ran. Data and logs stay. What cannot be ended does not
// keep the others from it.
func (m *Machine) Down(ctx context.Context) ([]Daemon, error) {
	files, err := m.records()
	if err != nil {
		return nil, err
	}
	var ended []Daemon
	var errs []error
	for _, file := range files {
		d, ran, err := m.down(ctx, file)
		if ran && err == nil {
			ended = append(ended, d)
		}
		errs = append(errs, err)
	}
	errs = append(errs, m.sweepAlone(ctx))
	return ended, errors.Join(errs...)
}

// sweepAlone sweeps while nobody starts a worker.
func (m *Machine) sweepAlone(ctx context.Context) error {
	if _, err := os.Stat(m.daemons()); err != nil {
		return nil // nothing was ever started
	}
	release, err := lock(ctx, m.lockFile(workerName), nil)
	if err != nil {
		return err
	}
	defer release()
	return m.sweep(ctx)
}

func (m *Machine) down(ctx context.Context, file string) (Daemon, bool, error) {
	rec, _ := readRecord(file)
	if rec.Name == "" {
		return Daemon{}, false, nil
	}
	release, err := lock(ctx, m.lockFile(rec.Name), func() {
		m.report(Event{Subject: rec.Name, Phase: Waiting, Detail: "another process starts or ends it"})
	})
	if err != nil {
		return Daemon{}, false, err
	}
	defer release()
	// It may have ended, or another one begun, while the lock was awaited.
	rec, alive := readRecord(file)
	if rec.Name == "" {
		return Daemon{}, false, nil
	}
	if !alive {
		return Daemon{}, false, m.forget(rec)
	}
	return rec.Daemon, true, m.stop(ctx, rec)
}

// stop ends the daemon. The caller holds its lock.
func (m *Machine) stop(ctx context.Context, rec record) error {
	begin := time.Now()
	m.report(Event{Subject: rec.Name, Phase: Stopping})
	if err := end(ctx, rec.Process, endLimit); err != nil {
		return fmt.Errorf("stopping %s: %w", rec.Name, err)
	}
	m.report(Event{Subject: rec.Name, Phase: Stopped, Elapsed: time.Since(begin)})
	return m.forget(rec)
}

// Status returns the daemons of this user and these directories that run.
func (m *Machine) Status() ([]Daemon, error) {
	files, err := m.records()
	if err != nil {
		return nil, err
	}
	var running []Daemon
	for _, file := range files {
		if rec, alive := readRecord(file); alive {
			rec.Reused = true
			running = append(running, rec.Daemon)
		}
	}
	return running, nil
}
