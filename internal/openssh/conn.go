// Package openssh keeps one connection a host through OpenSSH's own client, so
// that ~/.ssh/config, agents, certificates, hardware keys and jump hosts work
// as the user has them.
package openssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"
)

// DefaultConnectTimeout bounds the way to a host until it has let us in.
const DefaultConnectTimeout = 15 * time.Second

// keepalive is how often the client asks a silent server for a sign of life;
// the third question without an answer ends the connection.
const keepalive = 3 * time.Second

// Options say how a host is reached. The zero value is strict.
type Options struct {
	// AcceptNew takes the key of a host never seen before, as ssh's
	// StrictHostKeyChecking=accept-new; a changed key is refused all the same.
	AcceptNew bool
	// ConnectTimeout is DefaultConnectTimeout where it is 0.
	ConnectTimeout time.Duration
	// Config replaces ~/.ssh/config (ssh -F).
	Config string
	// Extra are further options of the form "Key=Value" (ssh -o).
	Extra []string
	// Forwards bring ports of this side to the host's loopback.
	Forwards []Forward
}

// Forward listens on 127.0.0.1:Port of the host and connects to Local on this
// side (ssh -R).
type Forward struct {
	Port  int
	Local string
}

// Conn is a connection that all commands to one host share.
type Conn struct {
	host   string
	dir    string
	base   []string
	master *exec.Cmd
	done   chan struct{}

	mu     sync.Mutex
	stderr bytes.Buffer
}

// Dial connects to a host as ssh(1) takes it: an alias, user@host, or
// ssh://user@host:port. It returns once the host has let us in. An error of the
// connection is an *Error.
func Dial(ctx context.Context, host string, o Options) (*Conn, error) {
	if host == "" || strings.HasPrefix(host, "-") {
		return nil, &Error{Host: host, Reason: "is no host name", Hint: "write it as for ssh: user@host or an alias of ~/.ssh/config"}
	}
	if _, err := exec.LookPath("ssh"); err != nil {
		return nil, &Error{Host: host, Reason: "cannot be reached: there is no ssh on this machine", Hint: "install OpenSSH's client (Debian, Ubuntu: apt-get install openssh-client)"}
	}
	// A short path: a socket's must fit 108 bytes, and ssh appends to it.
	dir, err := os.MkdirTemp("", "am-ssh")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the connection to %q: %w", host, err)
	}
	c := &Conn{host: host, dir: dir, done: make(chan struct{})}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	c.base = []string{"-o", "BatchMode=yes", "-o", "ControlPath=" + filepath.Join(dir, "c"), "-T"}
	if o.Config != "" {
		c.base = append([]string{"-F", o.Config}, c.base...)
	}
	if err := c.connect(ctx, o); err != nil {
		_ = c.Close() // why it failed is known
		return nil, err
	}
	return c, nil
}

// connect starts the master and waits for its word that it is in.
func (c *Conn) connect(ctx context.Context, o Options) error {
	strict := "yes"
	if o.AcceptNew {
		strict = "accept-new"
	}
	args := append([]string{}, c.base...)
	args = append(args,
		"-o", "ControlMaster=yes", "-o", "ControlPersist=no",
		"-o", "StrictHostKeyChecking="+strict,
		"-o", "ConnectTimeout="+strconv.Itoa(max(1, int(o.ConnectTimeout.Seconds()))),
		"-o", "ServerAliveInterval="+strconv.Itoa(int(keepalive.Seconds())), "-o", "ServerAliveCountMax=3",
		"-o", "ExitOnForwardFailure=yes",
		"-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo archmage-connected >&2",
	)
	for _, e := range o.Extra {
		args = append(args, "-o", e)
	}
	for _, f := range o.Forwards {
		args = append(args, "-R", f.spec())
	}
	// Not the context's: the connection outlives the call, and Close ends it.
	c.master = exec.Command("ssh", append(args, "-N", "--", c.host)...)
	detach(c.master)
	stderr, err := c.master.StderrPipe()
	if err != nil {
		return fmt.Errorf("connecting to %q: %w", c.host, err)
	}
	if err := c.master.Start(); err != nil {
		return fmt.Errorf("connecting to %q: %w", c.host, err)
	}
	in := make(chan struct{})
	go c.watch(stderr, in)
	timeout := time.NewTimer(o.ConnectTimeout + 2*time.Second)
	defer timeout.Stop()
	select {
	case <-in:
		return nil
	case <-c.done:
		return c.failure()
	case <-timeout.C:
		return &Error{Host: c.host, Reason: fmt.Sprintf("has not let us in within %s", o.ConnectTimeout), Hint: "check the network and the host; try `ssh " + c.host + "`"}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

const connected = "archmage-connected"

// watch reads what ssh says until it ends.
func (c *Conn) watch(stderr io.Reader, in chan<- struct{}) {
	buf := make([]byte, 4096)
	told := false
	for {
		n, err := stderr.Read(buf)
		c.mu.Lock()
		if c.stderr.Len() < 64<<10 {
			c.stderr.Write(buf[:n])
		}
		if !told && bytes.Contains(c.stderr.Bytes(), []byte(connected)) {
			told = true
			close(in)
		}
		c.mu.Unlock()
		if err != nil {
			break
		}
	}
	_ = c.master.Wait() // what it said tells more than its code
	close(c.done)
}

// Command is args run on the host over the connection, each quoted for the
// host's shell. Its exit code is the remote command's, or 255 where the
// connection failed.
func (c *Conn) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ssh", append(append([]string{}, c.base...), "-o", "ControlMaster=no",
		// Without its master, ssh would connect anew and by other rules.
		"-o", "ProxyCommand=false", "--", c.host, shellescape.QuoteCommand(args))...)
	detach(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 3 * time.Second
	return cmd
}

// Forward adds a port of this side to the host's loopback.
func (c *Conn) Forward(ctx context.Context, f Forward) error {
	args := append(append([]string{}, c.base...), "-O", "forward", "-R", f.spec(), "--", c.host)
	if out, err := exec.CommandContext(ctx, "ssh", args...).CombinedOutput(); err != nil {
		return &Error{Host: c.host, Reason: fmt.Sprintf("does not let us listen on its port %d: %s", f.Port, lastLine(string(out))),
			Hint: "free the port on the host, and allow AllowTcpForwarding in its sshd_config"}
	}
	return nil
}

func (f Forward) spec() string { return fmt.Sprintf("127.0.0.1:%d:%s", f.Port, f.Local) }

// Host is the host as it was given.
func (c *Conn) Host() string { return c.host }

// Done is closed when the connection is gone.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection is gone; nil while it stands.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.failure()
	default:
		return nil
	}
}

// Close ends the connection and everything that runs over it.
func (c *Conn) Close() error {
	if c.master != nil && c.master.Process != nil {
		select {
		case <-c.done:
		default:
			if err := c.master.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
				_ = c.master.Process.Kill()
			}
			select {
			case <-c.done:
			case <-time.After(3 * time.Second):
				_ = c.master.Process.Kill()
				<-c.done
			}
		}
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("closing the connection to %q: %w", c.host, err)
	}
	return nil
}

func (c *Conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return explain(c.host, c.stderr.String())
}
