// Package openssh keeps one connection a host through OpenSSH's own client, so
// that ~/.ssh/config, agents, certificates, hardware keys and jump hosts work
// as the user has them.
package openssh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultConnectTimeout bounds the way to a host until it has let us in.
const DefaultConnectTimeout = 15 * time.Second

// grace is how long the client may take to end.
const grace = 1500 * time.Millisecond

// Options say how a host is reached. The zero value is strict.
type Options struct {
	// AcceptNew takes the key of a host never seen before, as ssh's
	// StrictHostKeyChecking=accept-new; a changed key is refused all the same.
	// It holds for the host, not for jump hosts on the way.
	AcceptNew bool
	// HostKey is the fingerprint ("SHA256:…") of the only key that is taken;
	// known_hosts is not asked then.
	HostKey string
	// ConnectTimeout is DefaultConnectTimeout where it is 0.
	ConnectTimeout time.Duration
	// Silence is how long a host may send nothing at all before the connection
	// is given up. 0 leaves that to the user's ServerAliveInterval and
	// ServerAliveCountMax, and is a minute where they are not set.
	Silence time.Duration
	// Config is read in place of ~/.ssh/config and /etc/ssh/ssh_config.
	Config string
	// Port, if not 0, counts before that of the configuration.
	Port int
}

// Conn is a connection that all commands to one host share: an OpenSSH client
// that stays, and through whose control socket all else goes.
type Conn struct {
	host    string
	options Options
	program string
	dir     string
	client  *exec.Cmd
	stdin   io.Closer
	said    *output
	done    chan struct{}
	sockets atomic.Int64
}

// echo is what the remote side repeats once we are in.
const echo = "archmage-echo"

// Dial connects to a host as ssh(1) takes it: an alias, user@host, or
// ssh://user@host:port. It returns when the host has run a first command. An
// error of the connection is an *Error.
func Dial(ctx context.Context, host string, o Options) (_ *Conn, err error) {
	if host == "" || strings.HasPrefix(host, "-") {
		return nil, &Error{Host: host, Kind: Unreachable, Reason: "that is no host name", Hint: "write it as for ssh: user@host or an alias of ~/.ssh/config"}
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return nil, &Error{Host: host, Kind: Unreachable, Reason: "there is no ssh on this machine", Hint: "install OpenSSH's client (Debian, Ubuntu: apt-get install openssh-client)"}
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	dir, err := privateDir()
	if err != nil {
		return nil, err
	}
	c := &Conn{host: host, program: program, options: o, dir: dir, said: &output{}, done: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = c.Close() // why it failed is known
		}
	}()
	args, err := c.clientArgs()
	if err != nil {
		return nil, err
	}
	in, err := c.start(args)
	if err != nil {
		return nil, err
	}
	timeout := time.NewTimer(o.ConnectTimeout + 2*time.Second) // ssh's own has passed then
	defer timeout.Stop()
	select {
	case <-in:
		return c, nil
	case <-c.done:
		return nil, c.explain()
	case <-timeout.C:
		return nil, &Error{Host: host, Kind: Unreachable, Reason: fmt.Sprintf("it does not answer in time (%s)", o.ConnectTimeout), Hint: "check the network and the host; try `" + c.login() + "`"}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// start runs the client, and closes in when the host has answered. The remote
// cat ends with this process, whatever ends it, and so does the connection.
func (c *Conn) start(args []string) (in chan struct{}, err error) {
	// Not the context's: the connection outlives the call, and Close ends it.
	cmd := exec.Command(c.program, args...)
	detach(cmd)
	cmd.Stderr = c.said
	cmd.WaitDelay = grace
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("connecting to %q: %w", c.host, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("connecting to %q: %w", c.host, err)
	}
	c.stdin = stdin
	in = make(chan struct{})
	started := make(chan error)
	go func() {
		defer close(c.done)
		// The kernel ends the client with the thread that started it: this one,
		// which nobody else may use and end until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_, _ = fmt.Fprintln(stdin, echo) // if it cannot be sent, nothing comes back
		lines, answered := bufio.NewScanner(stdout), false
		for lines.Scan() {
			// A banner may come ahead of it.
			if !answered && strings.HasSuffix(lines.Text(), echo) {
				answered = true
				c.said.answered()
				close(in)
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // what it said tells more than its code
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("connecting to %q: %w", c.host, err)
	}
	c.client = cmd
	return in, nil
}

// HostKey is the key that the host showed, such as "ssh-ed25519 SHA256:…".
func (c *Conn) HostKey() string { return c.said.hostKey() }

// Done is closed when the connection is gone.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection is gone; nil while it stands.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.explain()
	default:
		return nil
	}
}

// Close ends the connection and everything that runs over it.
func (c *Conn) Close() error {
	if c.client != nil {
		// The remote cat ends with its input, and the client when told: else it
		// waits for connections that are forwarded.
		_ = c.stdin.Close()
		_ = c.client.Process.Signal(os.Interrupt)
		patience := time.NewTimer(grace)
		defer patience.Stop()
		select {
		case <-c.done:
		case <-patience.C:
			_ = c.client.Process.Kill()
			<-c.done
		}
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("closing the connection to %q: %w", c.host, err)
	}
	return nil
}

// socketRoom is what OpenSSH appends to the control socket's path while it
// binds it, plus the socket's own name; the path must fit in sun_path.
const socketRoom = 24

func privateDir() (string, error) {
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(parent, "am") // mode 0700
		if err != nil {
			return "", fmt.Errorf("making a directory for ssh: %w", err)
		}
		if len(dir)+socketRoom < 104 {
			return dir, nil
		}
		_ = os.Remove(dir)
	}
	return "", errors.New("the path of the temporary directory is too long for a socket; set TMPDIR to a shorter one")
}

func (c *Conn) socket() string { return filepath.Join(c.dir, "c") }
