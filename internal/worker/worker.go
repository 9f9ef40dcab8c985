// Package worker connects to BuildKit daemons, asks what they can build and
// chooses among them.
package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moby/buildkit/client"
	// Each helper registers the address scheme of its name.
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"
	_ "github.com/moby/buildkit/client/connhelper/kubepod"
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer"
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"
	_ "github.com/moby/buildkit/client/connhelper/ssh"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// ConnectTimeout bounds the first answer of a daemon. Addresses that start a
// helper process (ssh, docker exec, kubectl) need more than a socket does.
const ConnectTimeout = 15 * time.Second

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

	Client *client.Client
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
	return fmt.Sprintf("worker %q at %s does not answer: %v", e.Worker, e.Address, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *ConnectError) Remedy() string { return e.Hint }

// Connect opens the connection and asks the daemon who it is. The address must
// not be "auto" any more.
func Connect(ctx context.Context, spec *config.Worker, address string) (*Worker, error) {
	fail := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &ConnectError{Worker: spec.Name, Address: address, Err: reason(err), Hint: hint(address)}
	}
	var opts []client.ClientOpt
	if t := spec.TLS; t != nil {
		if t.CA != "" {
			opts = append(opts, client.WithServerConfig(t.ServerName, t.CA))
		} else {
			opts = append(opts, client.WithServerConfigSystem(t.ServerName))
		}
		if t.Cert != "" || t.Key != "" {
			opts = append(opts, client.WithCredentials(t.Cert, t.Key))
		}
	}
	c, err := client.New(ctx, address, opts...)
	if err != nil {
		return nil, fail(err)
	}
	probe, cancel := context.WithTimeoutCause(ctx, ConnectTimeout, errNoAnswer)
	defer cancel()
	w, err := ask(probe, c)
	if err != nil {
		c.Close()
		if probe.Err() != nil && ctx.Err() == nil {
			err = errNoAnswer
		}
		return nil, fail(err)
	}
	w.Name, w.Address, w.Slots = spec.Name, address, spec.Slots
	if w.Slots == 0 {
		w.Slots = DefaultSlots
	}
	if len(spec.Platforms) > 0 {
		w.Native = spec.Platforms
	}
	return w, nil
}

var errNoAnswer = fmt.Errorf("no answer within %s", ConnectTimeout)

func ask(ctx context.Context, c *client.Client) (*Worker, error) {
	info, err := c.Info(ctx)
	if err != nil {
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
func (w *Worker) Close() error { return w.Client.Close() }
