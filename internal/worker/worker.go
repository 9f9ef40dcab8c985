// Package worker connects to BuildKit daemons, asks what they can build and
// chooses among them.
package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	// Each helper registers the address scheme of its name; ssh:// is our own.
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"
	_ "github.com/moby/buildkit/client/connhelper/kubepod"
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer"
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/openssh"
)

// ConnectTimeout bounds the first answer of a daemon behind a helper process
// (ssh, docker exec, kubectl), and SocketTimeout that of one at a socket.
const (
	ConnectTimeout = 15 * time.Second
	SocketTimeout  = 5 * time.Second
)

// Worker is a BuildKit daemon that has answered.
type Worker struct {
	Name string
	// Address as BuildKit's client takes it, after "auto" was resolved.
	Address string
	// Version of the daemon, such as v0.34.2.
	Version string
	// Host is the platform of the machine, Platforms are all it reports,
	// emulated ones included, and Native those it may build as its own.
	Host      ocispecs.Platform
	Platforms []ocispecs.Platform
	Native    []ocispecs.Platform
	// Slots is how many solves run at a time.
	Slots int
	// Push is "worker" or "client": who pushes the image.
	Push string
	// Unforwarded says why registries on this machine's loopback could not be
	// brought to an ssh:// worker; nil if they were, or none had to be.
	Unforwarded error

	Client *client.Client

	link        *openssh.Conn
	pulse       *pulse
	credentials *credential.Store
	plainHTTP   func(host string) bool

	probing sync.Mutex
	probed  map[string]bool // what Sift found out, by platform
}

// DefaultSlots is how many solves a worker runs at a time where targets.hcl
// does not say. BuildKit itself bounds the steps that run side by side.
const DefaultSlots = 4

// ConnectError says why a worker cannot be used.
type ConnectError struct {
	Worker  string
	Address string
	Err     error
	Hint    string
}

func (e *ConnectError) Error() string {
	what := "does not answer"
	var version *versionError
	if errors.As(e.Err, &version) {
		what = "cannot be used"
	}
	return fmt.Sprintf("worker %q at %s %s: %v", e.Worker, e.Address, what, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *ConnectError) Remedy() string { return e.Hint }

// Options say how workers are connected to.
type Options struct {
	// SSHConfig is read in place of ~/.ssh/config and /etc/ssh/ssh_config.
	SSHConfig string
	// Forwards bring ports of this machine to the loopback of ssh:// workers:
	// those of registries that only this machine can reach.
	Forwards []openssh.Forward
	// Credentials gives the logins that the daemon may use; nil has none.
	Credentials *credential.Store
	// PlainHTTP reports whether a registry host may be spoken to over plain
	// HTTP; nil means that only those on loopback may.
	PlainHTTP func(host string) bool
}

// Connect opens the connection and asks the daemon who it is. The address must
// not be "auto" any more.
func Connect(ctx context.Context, spec *config.Worker, address string, o Options) (*Worker, error) {
	dial := helperDialer(address)
	fail := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := &ConnectError{Worker: spec.Name, Address: address, Err: reason(err), Hint: hint(address)}
		var ssh *openssh.Error
		var unsafe tlsError
		var version *versionError
		if errors.As(err, &version) {
			e.Err, e.Hint = version, "install a newer BuildKit there, or remove the worker from targets.hcl"
		} else if errors.As(err, &ssh) {
			e.Err, e.Hint = ssh, ssh.Hint
		} else if errors.As(err, &unsafe) {
			e.Err = unsafe
		} else if known := diagnoseTLS(ctx, address, spec.TLS); known != nil {
			e.Err = known
		} else if dial != nil {
			if known := overhear(ctx, dial, address); known != nil {
				e.Err = known
			}
		}
		return e
	}
	beats := &pulse{}
	opts, err := transport(spec.TLS, beats)
	if err != nil {
		return nil, fail(err)
	}
	var link *openssh.Conn
	var unforwarded error
	if strings.HasPrefix(address, "ssh://") {
		l, d, refused, err := dialSSH(ctx, address, o)
		if err != nil {
			return nil, fail(err)
		}
		link, dial, unforwarded = l, d, refused
		opts = append(opts, client.WithContextDialer(d))
	}
	c, err := client.New(ctx, address, opts...)
	if err != nil {
		defer closeLink(link) // when it has been asked for the reason
		return nil, fail(err)
	}
	timeout := ConnectTimeout
	if strings.HasPrefix(address, "unix://") || strings.HasPrefix(address, "tcp://") {
		timeout = SocketTimeout
	}
	probe, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w, err := ask(probe, c)
	if err != nil {
		_ = c.Close()         // it is of no use
		defer closeLink(link) // when it has been asked for the reason
		if probe.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %s", timeout)
		}
		return nil, fail(err)
	}
	w.Name, w.Address, w.Slots, w.Push = spec.Name, address, spec.Slots, spec.Push
	w.link, w.pulse, w.Unforwarded = link, beats, unforwarded
	w.credentials, w.plainHTTP = o.Credentials, o.PlainHTTP
	if w.Slots == 0 {
		w.Slots = DefaultSlots
	}
	if len(spec.Platforms) > 0 {
		w.Native = spec.Platforms
	}
	return w, nil
}

// transport is how the bytes get to the daemon, by TLS or plainly.
func transport(t *config.TLS, beats *pulse) ([]client.ClientOpt, error) {
	option := func(o grpc.DialOption) client.ClientOpt { return client.WithGRPCDialOption(o) }
	if t == nil {
		return []client.ClientOpt{option(grpc.WithTransportCredentials(observed{insecure.NewCredentials(), beats}))}, nil
	}
	c, err := tlsConfig(t, "")
	if err != nil {
		return nil, err
	}
	opts := []client.ClientOpt{option(grpc.WithTransportCredentials(observed{credentials.NewTLS(c), beats}))}
	if t.ServerName != "" {
		opts = append(opts, option(grpc.WithAuthority(t.ServerName)))
	}
	return opts, nil
}

func closeLink(link *openssh.Conn) {
	if link != nil {
		_ = link.Close() // a connection that is given up
	}
}

func ask(ctx context.Context, c *client.Client) (*Worker, error) {
	info, err := c.Info(ctx)
	if status.Code(err) == codes.Unimplemented {
		if _, listErr := c.ListWorkers(ctx); listErr != nil {
			return nil, err // no BuildKit at all
		}
		return nil, &versionError{"before v0.11"} // which brought the question
	}
	if err != nil {
		return nil, err
	}
	if err := checkVersion(info.BuildkitVersion.Version); err != nil {
		return nil, err
	}
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return nil, err
	}
	if len(workers) == 0 || len(workers[0].Platforms) == 0 {
		return nil, errors.New("the daemon has no worker of its own")
	}
	w := &Worker{Client: c, Version: info.BuildkitVersion.Version}
	for _, p := range workers[0].Platforms {
		name := config.FormatPlatform(p)
		if !slices.ContainsFunc(w.Platforms, func(o ocispecs.Platform) bool { return config.FormatPlatform(o) == name }) {
			n, err := config.ParsePlatform(name)
			if err != nil {
				continue // a platform this version does not know cannot be asked for either
			}
			w.Platforms = append(w.Platforms, n)
		}
	}
	if len(w.Platforms) == 0 {
		return nil, errors.New("the daemon reports no platform")
	}
	w.Host = w.Platforms[0]
	w.Native = native(w.Host)
	for _, p := range w.Platforms {
		// Variants of the machine's own architecture are no emulation.
		if p.OS == w.Host.OS && p.Architecture == w.Host.Architecture && !contains(w.Native, p) {
			w.Native = append(w.Native, p)
		}
	}
	return w, nil
}

// native is what the processor runs by itself. Reported platforms do not tell:
// with binfmt handlers a daemon lists emulated ones beside them.
func native(host ocispecs.Platform) []ocispecs.Platform {
	out := []ocispecs.Platform{host}
	add := func(arch, variant string) {
		out = append(out, ocispecs.Platform{OS: host.OS, Architecture: arch, Variant: variant})
	}
	switch host.Architecture {
	case "amd64":
		// Any amd64 machine runs the baseline and 32-bit x86.
		if host.Variant != "" {
			add("amd64", "")
		}
		add("386", "")
	case "arm":
		switch host.Variant {
		case "v8":
			add("arm", "v7")
			fallthrough
		case "v7", "":
			add("arm", "v6")
			fallthrough
		case "v6":
			add("arm", "v5")
		}
	}
	// A 64-bit ARM machine may or may not run 32-bit code (newer cores do not),
	// so that must be declared.
	return out
}

// Builds says whether the worker builds the platform as its own.
func (w *Worker) Builds(p ocispecs.Platform) bool {
	return slices.ContainsFunc(w.Native, func(o ocispecs.Platform) bool {
		return config.FormatPlatform(o) == config.FormatPlatform(p)
	})
}

// Close ends the connection.
func (w *Worker) Close() error {
	err := w.Client.Close()
	if w.link != nil {
		err = errors.Join(err, w.link.Close())
	}
	return err
}
