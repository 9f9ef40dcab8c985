// Package device reaches the machines that run a released image, over SSH or
// on this machine, and drives the container runtime that each of them has.
package device

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/archmage-build/archmage/internal/config"
)

// Options hold for all devices of a run.
type Options struct {
	// SSHConfig is read in place of ~/.ssh/config and /etc/ssh/ssh_config.
	SSHConfig string
	// Owner tells the containers and images of this workspace from those of
	// others on the same device, and Run, of letters and digits, those of this
	// run. Leftovers of the same owner are removed whatever their age, unless
	// their run is among those that Live gives, which are under way. Live may be
	// nil.
	Owner, Run string
	Live       func() []string
	// Connect bounds the connection and each question, where the device's own
	// connect_timeout does not; 0 means 15 s.
	Connect time.Duration
	// Images reads images for a device whose connection breaks during a pull; nil
	// leaves such a pull failed.
	Images Images
	// Credential gives what to log in with for a repository, named in full; ok
	// is false where there is nothing. It is asked only for devices whose
	// lend_credentials is set. May be nil.
	Credential func(ctx context.Context, repository string) (c Credential, ok bool, err error)
}

// connectTimeout is how long a device may take to answer.
const connectTimeout = 15 * time.Second

// grace is how long a script may take to clean up after it was told to end.
const grace = 1500 * time.Millisecond

// Device is one machine. Its methods are for one caller at a time: a device
// does its steps in order.
type Device struct {
	Spec *config.Device

	opts  Options
	link  link
	facts *Facts
	// reached are the loopback registries that the device can pull from.
	reached map[string]bool
	mu      sync.Mutex
	// holding is set where images may be held on the device.
	holding bool
}

// link is how scripts get to a device.
type link interface {
	// shell runs a POSIX shell that reads its script from stdin.
	shell(ctx context.Context) *command
	// run is a command of one line for a POSIX shell, with a standard input of
	// its own.
	run(ctx context.Context, script string) *exec.Cmd
	// dial opens a connection to a port of the device's own loopback; the
	// address is one to dial on this machine, undo ends the path to it.
	dial(ctx context.Context, port int) (network, address string, undo func(), err error)
	// bring makes host, a registry on this machine's loopback, answer under
	// the same name on the device.
	bring(ctx context.Context, host string) error
	// hostKey is the fingerprint of the device's host key, if it has one.
	hostKey() string
	// lost says why the link is down, or gives nil if it is up for at least
	// that long.
	lost(wait time.Duration) error
	close() error
}

// New makes a device of its block; nothing is touched yet. The spec must have
// a host: a worker is no device of this package.
func New(spec *config.Device, o Options) *Device {
	if o.Connect == 0 {
		o.Connect = connectTimeout
	}
	return &Device{Spec: spec, opts: o, reached: map[string]bool{}}
}

// Local says whether the device is this machine, reached without SSH.
func (d *Device) Local() bool { return d.Spec.Host == "local" }

// Connect opens the one connection of this run, if it is not open. It lasts
// until Close.
func (d *Device) Connect(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link != nil {
		if err := d.link.lost(0); err == nil {
			return nil
		}
		_ = d.link.close()
		d.link, d.reached = nil, map[string]bool{} // it is the same device, by its host key
	}
	if d.Local() {
		d.link = local{}
		return nil
	}
	bounded, cancel := context.WithTimeoutCause(ctx, d.connectTimeout(), errNoAnswer)
	defer cancel()
	l, err := dialSSH(bounded, d.Spec, d.connectTimeout(), d.opts)
	if err != nil {
		return d.explain(ctx, err)
	}
	d.link = l
	return nil
}

// connectTimeout is how long this device may take to answer.
func (d *Device) connectTimeout() time.Duration {
	if d.Spec.ConnectTimeout != 0 {
		return d.Spec.ConnectTimeout
	}
	return d.opts.Connect
}

var errNoAnswer = errors.New("it does not answer in time")

// closeTimeout bounds what is left to do when a device is closed.
const closeTimeout = 5 * time.Second

// Close gives up the images of this run, and ends the connection and everything
// that was lent to the device.
func (d *Device) Close() error {
	if f := d.facts; f != nil && d.holding {
		// Not the caller's context, which may have ended. What cannot be given
		// up is swept by the next run.
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		_ = d.dropHolds(ctx, f)
		cancel()
		d.holding = false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link == nil {
		return nil
	}
	err := d.link.close()
	d.link, d.facts = nil, nil
	if err != nil {
		return fmt.Errorf("closing the connection to device %q: %w", d.Spec.Name, err)
	}
	return nil
}

// explain makes err an Error of this device; what the context ends stays as
// it is.
func (d *Device) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var e *Error
	if !errors.As(err, &e) {
		e = unreachable(err)
		if errors.Is(err, errNoAnswer) {
			e.Hint = "check that the device is on and that its network works; `ssh " + d.Spec.Host + " true` must end by itself"
		}
	}
	e.Device, e.Host = d.Spec.Name, d.Spec.Host
	return e
}
