package device

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/openssh"
)

// remote is a device on the other side of SSH.
type remote struct{ conn *openssh.Conn }

func dialSSH(ctx context.Context, spec *config.Device, timeout time.Duration, o Options) (link, error) {
	conn, err := openssh.Dial(ctx, spec.Host, openssh.Options{
		AcceptNew: spec.AcceptNew, HostKey: spec.HostKey, ConnectTimeout: timeout, Silence: spec.Silence, Config: o.SSHConfig,
	})
	if err != nil {
		return nil, err
	}
	return remote{conn}, nil
}

// Every login shell knows these words.
func (r remote) shell(ctx context.Context) *command {
	return newCommand(r.conn.Command(ctx, "exec", "sh", "-s"))
}

func (r remote) run(ctx context.Context, script string) *exec.Cmd {
	return r.conn.Command(ctx, "exec", "sh", "-c", script)
}

func (r remote) dial(ctx context.Context, port int) (network, address string, undo func(), err error) {
	socket, undo, err := r.conn.Reach(ctx, port)
	return "unix", socket, undo, err
}

func (r remote) bring(ctx context.Context, host string) error {
	name, port := splitHost(host)
	l, err := r.conn.Listen(ctx, net.JoinHostPort(name, port))
	if err != nil {
		return err
	}
	go serveReader(l, net.JoinHostPort(name, port))
	go func() {
		<-r.conn.Done()
		_ = l.Close()
	}()
	return nil
}

func (r remote) hostKey() string { return r.conn.HostKey() }

func (r remote) lost(wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.conn.Done():
	case <-timer.C:
	}
	return r.conn.Err()
}

func (r remote) close() error { return r.conn.Close() }

// unreachable makes an error of the connection one of a device.
func unreachable(err error) *Error {
	var e *openssh.Error
	if !errors.As(err, &e) {
		return &Error{Kind: Unreachable, Err: err}
	}
	out := &Error{Kind: kinds[e.Kind], Err: errors.New(clip(e.Reason)), Hint: e.Hint}
	if e.Kind == openssh.HostKey {
		out.Hint += "; or give the device host_key = \"SHA256:…\" or, for a new one, accept_new = true"
	}
	return out
}

var kinds = map[openssh.Kind]Kind{
	openssh.Unreachable: Unreachable, openssh.HostKey: HostKey, openssh.Denied: Denied, openssh.NoShell: NoShell,
}
