package smoke

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/worker"
)

// OnWorker proves on a BuildKit worker, in its own sandbox. The connection is
// the caller's: connect gives it, or says why there is none.
func OnWorker(spec *config.Device, connect func(context.Context) (*worker.Worker, error)) Prover {
	return &onWorker{device: spec, connect: connect}
}

type onWorker struct {
	device  *config.Device
	connect func(context.Context) (*worker.Worker, error)
	worker  *worker.Worker
}

func (o *onWorker) spec() *config.Device { return o.device }

func (o *onWorker) ready(ctx context.Context) (machine, error) {
	w, err := o.connect(ctx)
	if err != nil {
		return machine{}, err
	}
	o.worker = w
	m := machine{
		all:    true,
		native: func(c *Child) bool { return w.Proves(c.Platform) },
		facts:  WorkerFacts{Worker: w.Name, Address: w.Address, Version: w.Version, Host: config.FormatPlatform(w.Host)},
	}
	if p := o.device.Platform; p != nil {
		m.platforms = []string{config.FormatPlatform(*p)}
		return m, nil
	}
	for _, p := range w.Native {
		m.platforms = append(m.platforms, config.FormatPlatform(p))
	}
	return m, nil
}

// WorkerFacts are what a worker said about itself.
type WorkerFacts struct {
	Worker  string `json:"worker"`
	Address string `json:"address"`
	Version string `json:"version"`
	Host    string `json:"platform"`
}

// wipe has nothing to do: a worker's images are cache, and always asked for anew.
func (o *onWorker) wipe(context.Context, []string) error { return nil }

// pull waits for the run, which pulls by digest; BuildKit verifies it.
func (o *onWorker) pull(ctx context.Context, t *Target, c *Child, _ bool) (pulled, error) {
	p := pulled{ref: t.ref(c.Digest)}
	ctx, cancel := context.WithTimeout(ctx, o.pullTimeout())
	defer cancel()
	raw, err := o.worker.Config(ctx, p.ref, c.Platform)
	if err != nil {
		return p, err
	}
	if got := digest.FromBytes(raw); got != c.Config {
		p.strange = "the config that the worker gets is " + got.String() + ", not " + c.Config.String()
	}
	return p, nil
}

func (o *onWorker) pullTimeout() time.Duration {
	if o.device.PullTimeout > 0 {
		return o.device.PullTimeout
	}
	return 10 * time.Minute
}

func (o *onWorker) run(ctx context.Context, p pulled, c *Child, s *config.Smoke) (outcome, error) {
	if s.HTTP != nil {
		return outcome{}, errNoHTTP
	}
	r, err := o.worker.Run(ctx, worker.RunRequest{
		Ref: p.ref, Platform: c.Platform, Args: s.Command, Env: s.Env, Files: files(s), Pull: o.pullTimeout(), Timeout: s.Timeout, Output: kept,
	})
	return outcome{
		ended: !r.TimedOut, exitCode: r.ExitCode, stdout: r.Stdout, stderr: r.Stderr,
		truncated: r.StdoutSize > int64(len(r.Stdout)) || r.StderrSize > int64(len(r.Stderr)),
		missing:   r.Missing, timedOut: r.TimedOut, took: r.RunTime, pullTook: r.PullTime,
	}, err
}

func (o *onWorker) tag(ctx context.Context, t *Target, c *Child) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, o.pullTimeout())
	defer cancel()
	raw, err := o.worker.Config(ctx, t.Repository+":"+t.Tag, c.Platform)
	return err == nil && digest.FromBytes(raw) == c.Config, err
}

func (o *onWorker) close() error { return nil }
