package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// probe is the answer of one of those that take part in a release.
type probe struct {
	// Kind is config, registry, login, worker or device, and Name which of them.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Verdict is ok, note or failed. A note stops no release.
	Verdict string `json:"verdict"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`

	err error
}

const (
	probeOK     = "ok"
	probeNote   = "note"
	probeFailed = "failed"
)

func failedProbe(kind, name string, err error) probe {
	p := probe{Kind: kind, Name: name, Verdict: probeFailed, Detail: err.Error(), err: err}
	var r interface{ Remedy() string }
	if errors.As(err, &r) {
		p.Hint = r.Remedy()
	}
	return p
}

// Doctor asks the registries, workers and devices of a configuration whether
// they are there and let us in, and shows all answers. Nothing is started or
// changed. The error is the first of those that would stop a release.
func (w *Workspace) Doctor(ctx context.Context, s Selection, asJSON bool) error {
	p, err := w.loadPublishable(s)
	if err != nil {
		return err
	}
	client, err := w.clientOf(p, 1)
	if err != nil {
		return err
	}
	probes := []probe{{Kind: "config", Name: strings.Join(p.Files, ", "), Verdict: probeOK, Detail: matrix(p)}}
	probes = append(probes, w.probes(ctx, p, client)...)
	w.status.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if asJSON {
		err = w.writeJSON(probes)
	} else {
		err = w.showProbes(w.Streams.Out, probes)
	}
	return errors.Join(err, firstFailure(probes))
}

func firstFailure(probes []probe) error {
	for _, p := range probes {
		if p.err != nil {
			return &ProbeError{Failed: slices.DeleteFunc(slices.Clone(probes), func(p probe) bool { return p.err == nil }), Err: p.err}
		}
	}
	return nil
}

// ProbeError reports who would stop a release.
type ProbeError struct {
	Failed []probe
	// Err is the first of their errors.
	Err error
}

func (e *ProbeError) Error() string {
	var names []string
	for _, p := range e.Failed {
		names = append(names, p.Kind+" "+p.Name)
	}
	return "a release would fail at " + strings.Join(names, ", ")
}

func (e *ProbeError) Unwrap() error { return e.Err }

// matrix counts what a plan makes.
func matrix(p *plan.Plan) string {
	return fmt.Sprintf("%s, %s, %s", count(len(p.Published()), "target"), count(len(p.Builds()), "build"), count(len(publishedTags(p)), "tag"))
}

// probes asks all at once, and answers in the order registries, logins, workers,
// devices.
func (w *Workspace) probes(ctx context.Context, p *plan.Plan, client *registry.Client) []probe {
	var asking sync.WaitGroup
	var groups [][]probe
	ask := func(n int, one func(i int) []probe) {
		at := len(groups)
		groups = append(groups, make([][]probe, n)...)
		answers := groups[at : at+n]
		for i := range n {
			asking.Go(func() { answers[i] = one(i) })
		}
	}
	hosts := p.Hosts()
	total := len(hosts) + len(p.Workers) + len(p.Devices)
	groups = make([][]probe, 0, total) // never grown, as the answers point into it
	ask(len(hosts), func(i int) []probe { return w.probeRegistry(ctx, p, client, hosts[i]) })
	ask(len(p.Workers), func(i int) []probe { return []probe{w.probeWorker(ctx, p, p.Workers[i])} })
	if len(p.Devices) > 0 {
		fleet, err := w.devices(p, nil)
		if err != nil {
			return []probe{failedProbe("device", "", err)}
		}
		defer fleet.close()
		ask(len(p.Devices), func(i int) []probe { return []probe{w.probeDevice(ctx, fleet, p, p.Devices[i])} })
	}
	asking.Wait()
	return slices.Concat(groups...)
}

func (w *Workspace) probeRegistry(ctx context.Context, p *plan.Plan, client *registry.Client, host string) []probe {
	if err := client.Ping(ctx, host); err != nil {
		if p.Registry(host).Embedded {
			return []probe{{Kind: "registry", Name: host, Verdict: probeNote, Detail: "it does not run yet; a release starts it"}}
		}
		return []probe{failedProbe("registry", host, err)}
	}
	out := []probe{{Kind: "registry", Name: host, Verdict: probeOK, Detail: "it answers"}}
	for _, repo := range repositories(p, host) {
		if err := client.CheckPush(ctx, repo); err != nil {
			out = append(out, failedProbe("login", repo, err))
			continue
		}
		l, _ := w.logins().Lookup(repo) // CheckPush has looked it up too
		out = append(out, probe{Kind: "login", Name: repo, Verdict: probeOK, Detail: "it takes a push, " + l.String()})
	}
	return out
}

func (w *Workspace) probeWorker(ctx context.Context, p *plan.Plan, spec *config.Worker) probe {
	if spec.Address == "auto" && !w.autoRuns() {
		return probe{Kind: "worker", Name: spec.Name, Verdict: probeNote, Detail: "no BuildKit runs here yet; a release finds or starts one"}
	}
	v := w.look(ctx, p, spec)
	if v.Error != "" {
		return probe{Kind: "worker", Name: spec.Name, Verdict: probeFailed, Detail: v.Error, Hint: v.Remedy, err: v.err}
	}
	return probe{Kind: "worker", Name: spec.Name, Verdict: probeOK, Detail: fmt.Sprintf("BuildKit %s at %s builds %s", v.Version, v.Address, strings.Join(v.Native, ", "))}
}

// autoRuns reports whether a worker at "auto" is there without starting one.
func (w *Workspace) autoRuns() bool {
	if w.Getenv("BUILDKIT_HOST") != "" {
		return true
	}
	m, err := w.machine()
	if err != nil {
		return false
	}
	running, err := m.Status()
	return err == nil && slices.ContainsFunc(running, func(d embedded.Daemon) bool { return d.Name == "worker" })
}

func (w *Workspace) probeDevice(ctx context.Context, f *fleetOfDevices, p *plan.Plan, spec *config.Device) probe {
	if i := slices.IndexFunc(p.Workers, func(s *config.Worker) bool { return s.Name == spec.Worker }); i >= 0 && p.Workers[i].Address == "auto" && !w.autoRuns() {
		return probe{Kind: "device", Name: spec.Name, Verdict: probeNote, Detail: "its worker does not run yet"}
	}
	v := w.lookAt(ctx, f, p, spec)
	switch {
	case v.Error != "" && spec.Optional:
		return probe{Kind: "device", Name: spec.Name, Verdict: probeNote, Detail: v.Error + "; it is optional", Hint: v.Remedy}
	case v.Error != "":
		return probe{Kind: "device", Name: spec.Name, Verdict: probeFailed, Detail: v.Error, Hint: v.Remedy, err: v.err}
	case v.Facts != nil:
		return probe{Kind: "device", Name: spec.Name, Verdict: probeOK, Detail: fmt.Sprintf("%s, %s %s", v.Facts.Platform, v.Facts.Runtime, v.Facts.RuntimeVersion)}
	}
	return probe{Kind: "device", Name: spec.Name, Verdict: probeOK, Detail: v.Platform + ", " + v.Version}
}

func (w *Workspace) showProbes(out *ui.Stream, probes []probe) error {
	t := ui.NewTable(ui.Column{Title: "WHAT", Keep: true}, ui.Column{Title: "WHICH", Keep: true}, ui.Column{Title: "VERDICT", Keep: true}, ui.Column{Title: "DETAIL"})
	for _, p := range probes {
		verdict, detail := any(out.Good(p.Verdict)), p.Detail
		switch p.Verdict {
		case probeFailed:
			verdict, detail = out.Bad(p.Verdict), ""
		case probeNote:
			verdict = out.Warn(p.Verdict)
		}
		t.Row(p.Kind, p.Name, verdict, detail)
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, p := range probes {
		if p.Verdict == probeFailed {
			fmt.Fprintf(out, "%s %s\n", out.Bad(p.Kind+" "+p.Name+":"), ui.CleanLines(p.Detail))
		}
		if p.Hint != "" {
			fmt.Fprintf(out, "%s %s\n", out.Bold("hint:"), ui.Clean(out.Commands.In(p.Hint)))
		}
	}
	return nil
}
