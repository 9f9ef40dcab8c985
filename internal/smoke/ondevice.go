package smoke

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
)

// OnDevice proves on a device, over SSH or on this machine. The connection
// stays open until the caller closes the device, or for the length of Run
// where Options.Close is set.
func OnDevice(d *device.Device) Prover { return &onDevice{d} }

type onDevice struct{ device *device.Device }

func (o *onDevice) spec() *config.Device { return o.device.Spec }

func (o *onDevice) ready(ctx context.Context) (machine, error) {
	f, err := o.device.Probe(ctx)
	if err != nil {
		return machine{}, err
	}
	if _, err := o.device.Sweep(ctx); err != nil {
		return machine{}, err
	}
	m := machine{
		platforms: []string{f.Platform}, natural: f.Natural, facts: f,
		native: func(c *Child) bool { return !f.Emulates(c.Platform) },
	}
	if o.device.Spec.Platform == nil {
		for _, p := range f.Native { // an older variant runs as well
			if !slices.Contains(m.platforms, p) {
				m.platforms = append(m.platforms, p)
			}
		}
	}
	if len(f.Masks) > 0 {
		m.warning = "binfmt handlers (" + strings.Join(f.Masks, ", ") + ") would run a binary for another processor unnoticed"
	}
	return m, nil
}

func (o *onDevice) wipe(ctx context.Context, repositories []string) error {
	_, err := o.device.Wipe(ctx, device.WipeRequest{Repositories: repositories})
	return err
}

func (o *onDevice) pull(ctx context.Context, t *Target, c *Child, picks bool) (pulled, error) {
	req := device.PullRequest{Ref: t.ref(c.Digest), Platform: c.Platform, Insecure: t.Insecure}
	image, err := o.device.Pull(ctx, req)
	if err != nil {
		return pulled{}, err
	}
	p := pulled{ref: req.Ref, image: image}
	if image.ID != c.Config && image.ID != c.Digest {
		p.strange = fmt.Sprintf("the image on the device is %s; it should be %s (config) or %s (manifest)", image.ID, c.Config, c.Digest)
		return p, nil
	}
	if got := image.Platform; got.Architecture != c.Platform.Architecture || got.OS != c.Platform.OS || got.Variant != "" && c.Platform.Variant != "" && got.Variant != c.Platform.Variant {
		p.strange = fmt.Sprintf("the image's config says %s, the index %s", config.FormatPlatform(got), c.Name())
		return p, nil
	}
	if !picks || t.Index == "" {
		return p, nil
	}
	req.Ref = t.ref(t.Index)
	own, err := o.device.Pull(ctx, req)
	switch {
	case err != nil && strings.Contains(err.Error(), "overwrite digest"):
		// https://github.com/moby/moby/issues/43188: another platform of the
		// same index is there.
		p.note = "the runtime could not say what it picks from the index: it holds another platform of it"
	case err != nil:
		return pulled{}, fmt.Errorf("asking what the device picks from the index: %w", err)
	case !own.Same(image):
		p.strange = fmt.Sprintf("from the index the device's own runtime picks %s (%s), not the image for %s", config.FormatPlatform(own.Platform), own.ID, c.Name())
	}
	return p, nil
}

func (o *onDevice) run(ctx context.Context, p pulled, c *Child, s *config.Smoke) (outcome, error) {
	image, ok := p.image.(device.Image)
	if !ok {
		return outcome{}, errors.New("nothing was pulled")
	}
	req := device.RunRequest{
		Image: image.ID, Platform: c.Platform, Args: s.Command, Env: s.Env, Files: files(s), HTTP: s.HTTP, Timeout: s.Timeout, Output: kept,
	}
	r, err := o.device.Run(ctx, req)
	if device.IsLost(err) && ctx.Err() == nil { // the device has ended it; a line that broke once proves nothing
		r, err = o.device.Run(ctx, req)
	}
	out := outcome{
		ended: r.Ended, exitCode: r.ExitCode, oomKilled: r.OOMKilled, stdout: r.Stdout, stderr: r.Stderr,
		truncated: r.Truncated, missing: r.Missing, timedOut: r.TimedOut, took: r.Time,
	}
	if r.HTTP != nil {
		out.http = &httpOutcome{ok: r.HTTP.OK, problem: r.HTTP.Problem, tries: r.HTTP.Tries}
	}
	return out, err
}

func files(s *config.Smoke) []string {
	if s.Expect == nil {
		return nil
	}
	return s.Expect.Files
}

func (o *onDevice) tag(ctx context.Context, t *Target, c *Child) (bool, error) {
	f, err := o.device.Probe(ctx)
	if err != nil {
		return false, err
	}
	if f.Natural != c.Name() {
		return false, errNotNatural
	}
	want, err := o.device.Pull(ctx, device.PullRequest{Ref: t.ref(c.Digest), Platform: c.Platform, Insecure: t.Insecure})
	if err != nil {
		return false, err
	}
	got, err := o.device.Pull(ctx, device.PullRequest{Ref: t.Repository + ":" + t.Tag, Platform: c.Platform, Insecure: t.Insecure, Probe: c.Digest})
	if err != nil {
		return false, err
	}
	return got.Same(want), nil
}

func (o *onDevice) close() error { return o.device.Close() }
