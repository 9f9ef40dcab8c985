package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startLimit is how long a daemon may take until it answers. A worker that
// was killed replays its databases first.
const startLimit = 90 * time.Second

// maxLog is the size in bytes beyond which a start sets the log aside.
const maxLog = 8 << 20

// launch is a daemon to start.
type launch struct {
	name    string
	program string
	args    []string
	env     []string
	address string
	sockets []string
	answers func(context.Context) bool
	hint    func(log string) string // what to do about a start that went wrong
}

// start starts the daemon and waits until it answers. The caller holds its lock.
func (m *Machine) start(ctx context.Context, l launch) (Daemon, error) {
	begin := time.Now()
	logDir := filepath.Join(m.Dirs.State, "log")
	if err := private(logDir); err != nil {
		return Daemon{}, err
	}
	logName := filepath.Join(logDir, fileName(l.name)+".log")
	log, err := openLog(logName)
	if err != nil {
		return Daemon{}, err
	}
	defer func() { _ = log.Close() }()
	offset, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return Daemon{}, fmt.Errorf("reading log %q: %w", logName, err)
	}

	// Not CommandContext: the daemon outlives the task.
	cmd := exec.Command(l.program, l.args...)
	cmd.Dir = m.Dirs.State
	cmd.Env = l.env
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return Daemon{}, fmt.Errorf("starting %s: %w", l.name, err)
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()

	fail := func(cause error) error {
		said := tail(logName, offset)
		text := fmt.Sprintf("its log %s ends:\n  %s", logName, strings.ReplaceAll(said, "\n", "\n  "))
		if said == "" {
			text = fmt.Sprintf("its log %s is empty", logName)
		}
		if l.hint != nil {
			if hint := l.hint(said); hint != "" {
				text += "\n" + hint
			}
		}
		return fmt.Errorf("starting %s: %w; %s", l.name, cause, text)
	}

	id, err := identify(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		return Daemon{}, fail(<-died)
	}
	rec := record{
		Daemon:  Daemon{Name: l.name, PID: id.PID, Address: l.address, Log: logName, Since: begin.Truncate(time.Second)},
		Process: id, Program: l.program, Sockets: l.sockets,
	}
	if err := m.save(rec); err != nil {
		return Daemon{}, errors.Join(err, end(context.WithoutCancel(ctx), id, time.Second))
	}
	undo := func(cause error) error {
		return errors.Join(cause, end(context.WithoutCancel(ctx), id, 5*time.Second), m.forget(rec))
	}

	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	poll := time.NewTicker(25 * time.Millisecond)
	defer poll.Stop()
	said := begin
	m.report(Event{Subject: l.name, Phase: Starting})
	for {
		select {
		case err := <-died:
			if err == nil {
				err = errors.New("it ended at once")
			}
			return Daemon{}, errors.Join(fail(err), m.forget(rec))
		case <-ctx.Done():
			return Daemon{}, undo(fmt.Errorf("starting %s: %w", l.name, context.Cause(ctx)))
		case <-limit.C:
			return Daemon{}, undo(fail(fmt.Errorf("no answer at %s within %s", l.address, startLimit)))
		case <-poll.C:
		}
		if l.answers(ctx) {
			m.report(Event{Subject: l.name, Phase: Ready, Detail: l.address, Elapsed: time.Since(begin)})
			return rec.Daemon, nil
		}
		if time.Since(said) >= heartbeat {
			said = time.Now()
			m.report(Event{Subject: l.name, Phase: Starting, Elapsed: time.Since(begin)})
		}
	}
}

// running returns the daemon of that name if it runs and answers.
func (m *Machine) running(ctx context.Context, name, program string, answers func(context.Context, string) bool) (Daemon, bool) {
	rec, alive := m.load(name)
	if !alive || !answers(ctx, rec.Address) {
		return Daemon{}, false
	}
	rec.Reused = true
	m.report(Event{Subject: name, Phase: Reused, Detail: rec.Address})
	if rec.Program != program {
		m.report(Event{Subject: name, Phase: Note, Detail: "it runs another version than this one would start; after `mage down` the next start takes the new one"})
	}
	return rec.Daemon, true
}

// settle returns the daemon of that name like running, and ends one that does
// not come to answer. The caller holds its lock, so nobody is just starting it.
func (m *Machine) settle(ctx context.Context, name, program string, answers func(context.Context, string) bool) (Daemon, bool, error) {
	const patience = 3 * time.Second
	for begin := time.Now(); ; {
		if d, ok := m.running(ctx, name, program, answers); ok {
			return d, true, nil
		}
		rec, alive := m.load(name)
		if !alive {
			return Daemon{}, false, nil
		}
		if ctx.Err() != nil {
			return Daemon{}, false, fmt.Errorf("asking %s: %w", name, context.Cause(ctx))
		}
		if time.Since(begin) > patience {
			m.report(Event{Subject: name, Phase: Note, Detail: fmt.Sprintf("process %d does not answer at %s; starting anew", rec.PID, rec.Address)})
			return Daemon{}, false, m.stop(ctx, rec)
		}
		_ = gone(ctx, 100*time.Millisecond, rec.Process)
	}
}

// openLog opens the log for appending; one that has grown large is set aside.
func openLog(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading log %q: %w", name, err)
	}
	if err == nil && info.Size() > maxLog {
		if err := os.Rename(name, name+".old"); err != nil {
			return nil, fmt.Errorf("setting aside log %q: %w", name, err)
		}
	}
	log, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	return log, nil
}

// tail returns the last lines that were written to the log after offset.
func tail(name string, offset int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	const most = 16 << 10
	if info, err := f.Stat(); err == nil {
		offset = max(offset, info.Size()-most)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, offset, most))
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-12):], []byte("\n")))
}
