package openssh

import (
	"context"
	"os"
	"os/exec"

	"al.essio.dev/pkg/shellescape"
)

// Command is args run on the host over the connection, each quoted for the
// host's shell. Its exit code is the remote command's, or 255 where the
// connection failed.
func (c *Conn) Command(ctx context.Context, args ...string) *exec.Cmd {
	return c.through(ctx, "host", shellescape.QuoteCommand(args))
}

// through runs the client on the connection that stands. Should it be gone, the
// client must not open one of its own, by other rules.
func (c *Conn) through(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program, append([]string{
		"-F", "none", "-S", c.socket(), "-T", "-o", "ProxyCommand=exit 1", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
	}, args...)...)
	detach(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = grace
	return cmd
}
