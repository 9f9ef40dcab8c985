package openssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Forward listens on Remote of the host and connects to Local on this side
// (ssh -R); both are host:port.
type Forward struct {
	Remote string
	Local  string
}

// controlTimeout bounds a request to the client that stands.
const controlTimeout = 15 * time.Second

// Forward adds an address of this side to the host's.
func (c *Conn) Forward(ctx context.Context, f Forward) error {
	err := c.control(ctx, "forward", "-R", f.Remote+":"+f.Local)
	switch gone := c.Err(); {
	case err == nil:
	case gone != nil:
		return gone
	case ctx.Err() != nil, errors.Is(err, errNoAnswer):
		return err
	default:
		return &Error{Host: c.host, Kind: Unreachable, Reason: fmt.Sprintf("it does not let us listen on its %s: %v", f.Remote, err),
			Hint: "free the port on the host, and allow AllowTcpForwarding in its sshd_config"}
	}
	return nil
}

// Listen listens at an address of the host, a host:port, for connections to this
// process, until the listener is closed. Nobody else on this machine gets at it.
func (c *Conn) Listen(ctx context.Context, remote string) (net.Listener, error) {
	socket := c.newSocket()
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listening for %q: %w", c.host, err)
	}
	if err := c.Forward(ctx, Forward{Remote: remote, Local: socket}); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (c *Conn) newSocket() string {
	return filepath.Join(c.dir, fmt.Sprintf("l%d", c.sockets.Add(1)))
}

// Reach makes a port of the host's own loopback answer at a Unix socket of this
// side (ssh -L), until undo.
func (c *Conn) Reach(ctx context.Context, port int) (socket string, undo func(), err error) {
	socket = c.newSocket()
	forward := fmt.Sprintf("%s:127.0.0.1:%d", socket, port)
	if err := c.control(ctx, "forward", "-L", forward); err != nil {
		if gone := c.Err(); gone != nil {
			return "", nil, gone
		}
		return "", nil, fmt.Errorf("forwarding port %d of %q: %w", port, c.host, err)
	}
	return socket, func() {
		_ = c.control(context.WithoutCancel(ctx), "cancel", "-L", forward) // goes with the connection otherwise
		_ = os.Remove(socket)
	}, nil
}

var errNoAnswer = errors.New("the host does not answer in time")

// control sends the standing client a request.
func (c *Conn) control(ctx context.Context, request string, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, controlTimeout, errNoAnswer)
	defer cancel()
	out, err := c.through(ctx, append(append([]string{"-O", request}, args...), "host")...).CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return errors.New(lastLine(string(out)))
	}
	return nil
}
