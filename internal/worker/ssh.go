package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/docker/cli/cli/connhelper/commandconn"

	"github.com/archmage-build/archmage/internal/openssh"
)

// sshTarget takes ssh://[user@]host[:port][/path/to/buildkitd.sock] apart. The
// host may be an alias of ~/.ssh/config.
func sshTarget(address string) (host, socket string, port int, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", 0, fmt.Errorf("%q is not of the form ssh://[user@]host[:port][/path/to/buildkitd.sock]", address)
	}
	host = u.Hostname()
	if u.User != nil {
		if _, set := u.User.Password(); set {
			return "", "", 0, errors.New("a password in an ssh:// address is not used: log in by key or agent")
		}
		host = u.User.Username() + "@" + host
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return "", "", 0, fmt.Errorf("the port of %q is no number", address)
		}
	}
	return host, u.Path, port, nil
}

// dialSSH connects to the host once and gives BuildKit's client a dialer that
// goes through that connection. A forward that the host refuses is no reason
// to do without it: the third return value says why.
func dialSSH(ctx context.Context, address string, o Options) (*openssh.Conn, dialer, error, error) {
	host, socket, port, err := sshTarget(address)
	if err != nil {
		return nil, nil, nil, err
	}
	link, err := openssh.Dial(ctx, host, openssh.Options{Config: o.SSHConfig, Port: port})
	if err != nil {
		return nil, nil, nil, err
	}
	var refused error
	for _, f := range o.Forwards {
		refused = errors.Join(refused, link.Forward(ctx, f))
	}
	args := []string{"buildctl"}
	if socket != "" {
		args = append(args, "--addr", "unix://"+socket)
	}
	args = append(args, "dial-stdio")
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		// The command lives as long as the connection that it is, not as long
		// as the call that opens it.
		cmd := link.Command(context.WithoutCancel(ctx), args...)
		return commandconn.New(context.WithoutCancel(ctx), cmd.Args[0], cmd.Args[1:]...)
	}
	return link, dial, refused, nil
}

// sshReason takes what the remote shell said out of a failed dial-stdio.
func sshReason(text string) error {
	switch {
	case strings.Contains(text, "buildctl: not found"), strings.Contains(text, "buildctl: command not found"), strings.Contains(text, "Unknown command: buildctl"):
		return errors.New("there is no buildctl on the host, or it is not on the PATH of a non-interactive login")
	case strings.Contains(text, "buildkitd.sock: connect: no such file"), strings.Contains(text, "buildkitd.sock: connect: connection refused"):
		return errors.New("buildkitd does not run on the host, or its socket lies elsewhere (ssh://host/path/to/buildkitd.sock)")
	case strings.Contains(text, "buildkitd.sock: connect: permission denied"):
		return errors.New("the user may not use the socket of buildkitd on the host")
	}
	return nil
}
