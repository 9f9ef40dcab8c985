// Package embeddedtest gives tests a real BuildKit and a real registry, private to the test binary.
package embeddedtest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded"
)

// shared holds the daemons that all tests of a binary use together.
var shared = &pair{}

type pair struct {
	mu               sync.Mutex
	machine          *embedded.Machine
	worker, registry embedded.Daemon
	failed           [2]error
	attended, ended  bool
}

// Main runs the tests of a package, ends the daemons that they started, also
// when they are interrupted, and returns the exit code. Call it from TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(embeddedtest.Main(m)) }
func Main(m *testing.M) int {
	shared.attended = true
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupt
		_ = shared.end()
		os.Exit(130)
	}()
	code := m.Run()
	if err := shared.end(); err != nil {
		fmt.Fprintln(os.Stderr, "embeddedtest:", err)
		code = max(code, 1)
	}
	return code
}

// Worker returns the BuildKit daemon that the tests of this binary share. The
// first call starts it, and compiles it where this user has never done so.
func Worker(t testing.TB) embedded.Daemon {
	t.Helper()
	return shared.daemon(t, &shared.worker, &shared.failed[0], func(ctx context.Context, m *embedded.Machine) (embedded.Daemon, error) {
		return m.StartWorker(ctx)
	})
}

// Registry returns the host of the registry that the tests of this binary
// share, such as "127.0.0.1:34567". The first call starts it.
func Registry(t testing.TB) string {
	t.Helper()
	return shared.daemon(t, &shared.registry, &shared.failed[1], startRegistry).Address
}

// NewWorker returns a BuildKit daemon of this test's own, for tests that end
// it or change what it keeps.
func NewWorker(t testing.TB) embedded.Daemon {
	t.Helper()
	skipShort(t)
	m, err := newMachine()
	usable(t, "worker", err)
	t.Cleanup(func() {
		if err := remove(m); err != nil {
			t.Error(err)
		}
	})
	d, err := m.StartWorker(t.Context())
	usable(t, "worker", err)
	return d
}

// Machine returns this machine as users have it, with state of the test's own.
func Machine(t testing.TB) *embedded.Machine {
	t.Helper()
	skipShort(t)
	m, err := newMachine()
	usable(t, "machine", err)
	m.AnyoneWrites = false
	t.Cleanup(func() {
		if err := remove(m); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Busybox returns the path of a static busybox, which makes an image FROM
// scratch that can run shell steps.
func Busybox(t testing.TB) string {
	t.Helper()
	const path = "/bin/busybox"
	Need(t, isStatic(path), "no static busybox at "+path+" (Debian, Ubuntu: apt-get install busybox-static)")
	return path
}

// isStatic reports whether path is a program that needs no interpreter.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

func skipShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: real daemons take a while")
	}
}

func usable(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		Need(t, false, "no "+what+" on this machine: "+err.Error())
	}
}

func (p *pair) daemon(t testing.TB, d *embedded.Daemon, failed *error, start func(context.Context, *embedded.Machine) (embedded.Daemon, error)) embedded.Daemon {
	t.Helper()
	skipShort(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.attended:
		t.Fatal("nobody would end the daemons: call embeddedtest.Main from TestMain")
	case p.ended:
		t.Fatal("the tests are over")
	}
	if d.Address == "" && *failed == nil {
		*failed = func() (err error) {
			if p.machine == nil {
				if p.machine, err = newMachine(); err != nil {
					return err
				}
			}
			// Not the test's context: the daemon outlives the test.
			*d, err = start(context.WithoutCancel(t.Context()), p.machine)
			return err
		}()
	}
	usable(t, "daemon", *failed)
	return *d
}

func (p *pair) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.machine == nil {
		return nil
	}
	m := p.machine
	p.machine = nil
	return remove(m)
}

// newMachine returns this machine with state of its own and the parts that
// the user has compiled.
func newMachine() (*embedded.Machine, error) {
	m, err := embedded.New(os.Environ(), nil)
	if err != nil {
		return nil, err
	}
	// Not testing's TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "archmage")
	if err != nil {
		return nil, err
	}
	m.Dirs.State, m.Dirs.Run = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	m.AnyoneWrites = true
	return m, nil
}

// remove ends the daemons of m and removes their state.
func remove(m *embedded.Machine) error {
	_, err := m.Down(context.Background())
	return errors.Join(err, RemoveAll(filepath.Dir(m.Dirs.State)))
}

// RemoveAll removes dir of a machine; its files may belong to ids of a user namespace.
func RemoveAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || os.Getuid() == 0 {
		return err
	}
	if out, err := exec.Command("unshare", "--map-root-user", "--map-auto", "rm", "-rf", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("removing %q: %w: %s", dir, err, out)
	}
	return nil
}

// startRegistry starts one at a free port. Another program may take the port
// in between, so it tries a few.
func startRegistry(ctx context.Context, m *embedded.Machine) (embedded.Daemon, error) {
	var errs []error
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return embedded.Daemon{}, err
		}
		host := l.Addr().String()
		if err := l.Close(); err != nil {
			return embedded.Daemon{}, err
		}
		d, err := m.StartRegistry(ctx, host)
		if err == nil && !d.Foreign {
			return d, nil
		}
		errs = append(errs, err)
	}
	return embedded.Daemon{}, errors.Join(errs...)
}
