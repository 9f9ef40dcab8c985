package worker

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/moby/buildkit/client/connhelper"
)

// dialer opens one connection to a daemon.
type dialer func(ctx context.Context, address string) (net.Conn, error)

// helperDialer is that of an address which starts a helper process (docker
// exec, kubectl exec); nil for a socket.
func helperDialer(address string) dialer {
	h, err := connhelper.GetConnectionHelper(address)
	if err != nil || h == nil {
		return nil
	}
	return h.ContextDialer
}

// overhear asks a helper process that failed for its reason: gRPC may have met
// nothing but a broken pipe. It is nil where the helper says none.
func overhear(ctx context.Context, dial dialer, address string) error {
	conn, err := dial(ctx, address)
	if err != nil {
		return helperReason(err.Error())
	}
	defer func() { _ = conn.Close() }()
	said := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1)) // the end of its output, and what it said on stderr
		said <- err
	}()
	select {
	case err = <-said:
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
	}
	if err == nil {
		return nil
	}
	if known := sshReason(err.Error()); known != nil {
		return known
	}
	return helperReason(err.Error())
}

// helperReason takes what a helper process said last out of the error that
// commandconn makes of its end.
func helperReason(text string) error {
	if !strings.Contains(text, "command [") || !strings.Contains(text, "has exited with") {
		return nil
	}
	_, said, ok := strings.Cut(text, "stderr=")
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := lines[len(lines)-1]; ok && last != "" {
		return errors.New(last)
	}
	return nil
}
