package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/smoke"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

// fleetOfDevices are the machines that prove, and what to close afterwards.
type fleetOfDevices struct {
	provers []smoke.Prover
	devices []*device.Device

	mu      sync.Mutex
	workers map[string]*worker.Worker
}

// devices makes a prover of each declared device, or of those named.
func (w *Workspace) devices(p *plan.Plan, only []string) (*fleetOfDevices, error) {
	f := &fleetOfDevices{workers: map[string]*worker.Worker{}}
	client, err := w.client(p)
	if err != nil {
		return nil, err
	}
	chosen, err := chooseDevices(p.Devices, only)
	if err != nil {
		return nil, err
	}
	for _, spec := range chosen {
		if spec.Worker == "" {
			d := device.New(spec, w.deviceOptions(client))
			f.devices = append(f.devices, d)
			f.provers = append(f.provers, smoke.OnDevice(d))
			continue
		}
		f.provers = append(f.provers, smoke.OnWorker(spec, func(ctx context.Context) (*worker.Worker, error) {
			return f.worker(ctx, w, p, spec.Worker)
		}))
	}
	return f, nil
}

func (w *Workspace) deviceOptions(client *registry.Client) device.Options {
	logins := credential.New(w.Getenv)
	t := w.tenant()
	return device.Options{
		SSHConfig: w.Getenv("ARCHMAGE_SSH_CONFIG"), Owner: t.owner, Run: t.run, Live: t.live, Images: client,
		Credential: func(_ context.Context, repository string) (device.Credential, bool, error) {
			l, err := logins.Lookup(repository)
			return device.Credential{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}, l.Found(), err
		},
	}
}

// worker connects to a worker once, for all devices that it is.
func (f *fleetOfDevices) worker(ctx context.Context, w *Workspace, p *plan.Plan, name string) (*worker.Worker, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.workers[name]; c != nil {
		return c, nil
	}
	for _, spec := range p.Workers {
		if spec.Name != name {
			continue
		}
		c, err := w.dial(p)(ctx, spec)
		if err != nil {
			return nil, err
		}
		f.workers[name] = c
		return c, nil
	}
	return nil, fmt.Errorf("there is no worker %q", name)
}

func (f *fleetOfDevices) close() {
	var closing sync.WaitGroup
	for _, d := range f.devices {
		closing.Go(func() { _ = d.Close() }) // what was lent is removed; a device that is gone keeps nothing
	}
	closing.Wait()
	for _, c := range f.workers {
		_ = c.Close() // it was only used to look
	}
}

// proof is what the devices said, and the way to ask them again.
type proof struct {
	w     *Workspace
	fleet *fleetOfDevices
	// targets are those with smoke blocks.
	targets []*smoke.Target
	// report is nil where no device was asked.
	report *smoke.Report
	tags   map[string]string
	atOnce int
}

func (p *proof) close() {
	if p.fleet != nil {
		p.fleet.close()
	}
}

// prove runs the smoke cases on the devices, by digest, before any tag moves.
func (w *Workspace) prove(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) (*proof, error) {
	out := &proof{w: w, tags: map[string]string{}, atOnce: p.Release.DevicesAtOnce}
	if !p.Release.Prove {
		return out, nil
	}
	var unrun []*smoke.Target
	for _, t := range p.Published() {
		if len(t.Spec.Smokes) == 0 {
			st, err := w.unrun(t)
			if err != nil {
				return out, err
			}
			unrun = append(unrun, st)
			continue
		}
		st, err := smoke.Read(ctx, client, t.Repositories()[0]+"@"+r.Target(t.Name).Index.String())
		if err != nil {
			return out, interrupted(ctx, err)
		}
		st.Name, st.Cases, st.Insecure = t.Name, t.Spec.Smokes, p.Registry(plan.Host(t.Repositories()[0])).Insecure
		out.targets = append(out.targets, st)
		for _, tag := range t.Tags {
			if tag.Repository == t.Repositories()[0] {
				out.tags[t.Name] = tag.Name
			}
		}
	}
	policy := smoke.Policy{Require: p.Release.RequireDevices, Emulation: p.Release.Emulation}
	all := slices.Concat(out.targets, unrun)
	if len(out.targets) == 0 || len(p.Devices) == 0 {
		report := smoke.Conclude(all)
		w.proven = report.Summary()
		if err := report.Err(policy); err != nil {
			return out, &heldError{err}
		}
		return out, nil
	}
	var err error
	if out.fleet, err = w.devices(p, nil); err != nil {
		return out, err
	}
	report, err := w.runSmoke(ctx, out.fleet, all, smoke.Options{Wipe: true, Jobs: p.Release.DevicesAtOnce})
	if err != nil {
		out.close()
		return out, interrupted(ctx, err)
	}
	w.proven = report.Summary()
	out.report = report
	if r.Smoke, err = json.Marshal(report); err != nil {
		out.close()
		return out, fmt.Errorf("encoding the smoke report: %w", err)
	}
	for _, res := range report.Results {
		if tr := r.Target(res.Target); tr != nil && res.Verdict == smoke.Passed {
			if c := tr.Child(res.Platform); c != nil && !slices.Contains(c.ProvenOn, res.Device) {
				c.ProvenOn = append(c.ProvenOn, res.Device)
			}
		}
	}
	if err := r.Save(); err != nil {
		out.close()
		return out, err
	}
	if err := w.showSmoke(w.Streams.Err, report); err != nil {
		out.close()
		return out, err
	}
	if err := report.Err(policy); err != nil {
		out.close()
		return out, &heldError{err}
	}
	if err := r.Advance(journal.Proven); err != nil {
		out.close()
		return out, err
	}
	return out, nil
}

// unrun is a target that no device runs, for want of a smoke block.
func (w *Workspace) unrun(t *plan.Target) (*smoke.Target, error) {
	d, err := index.Open(w.layout(), t.Name)
	if err != nil {
		return nil, err
	}
	st := &smoke.Target{Name: t.Name}
	for _, desc := range d.Children() {
		st.Children = append(st.Children, smoke.Child{Platform: *desc.Platform, Digest: desc.Digest})
	}
	return st, nil
}

// heldError is what keeps a release from its tags.
type heldError struct{ err error }

func (e *heldError) Error() string { return "no tag has moved: " + e.err.Error() }
func (e *heldError) Unwrap() error { return e.err }

// verifyTags pulls each tag once on each device that ran its cases.
func (p *proof) verifyTags(ctx context.Context) error {
	if p.report == nil {
		return nil
	}
	for _, t := range p.targets {
		t.Tag = p.tags[t.Name]
	}
	report, err := smoke.VerifyTags(ctx, p.fleet.provers, p.targets, p.report, smoke.Options{Jobs: p.atOnce, Event: func(e smoke.Event) {
		if e.State != "done" {
			e.State, e.Target = "checking what the tags give", ""
		}
		p.w.smokeEvent(e)
	}})
	p.w.status.Close()
	if err != nil {
		return interrupted(ctx, err)
	}
	if err := report.Err(smoke.Policy{}); err != nil {
		return &TagProofError{Problem: err.Error()}
	}
	return nil
}

// TagProofError says that a tag, once moved, did not give a device what had
// been proven.
type TagProofError struct{ Problem string }

func (e *TagProofError) Error() string { return "the tags have moved, but " + e.Problem }

// Remedy is what to do next.
func (e *TagProofError) Remedy() string {
	return "look at the device; `mage rollback` puts the tags back to what they were"
}

func (w *Workspace) runSmoke(ctx context.Context, f *fleetOfDevices, targets []*smoke.Target, o smoke.Options) (*smoke.Report, error) {
	o.LogDir, o.Event = w.path("smoke"), w.smokeEvent
	defer w.status.Close()
	return smoke.Run(ctx, f.provers, targets, o)
}

// smokeEvent shows what each device is doing.
func (w *Workspace) smokeEvent(e smoke.Event) {
	what := e.State
	if e.Target != "" {
		what += " " + e.Target
	}
	if e.State == "done" {
		w.status.Done(e.Device)
		return
	}
	w.status.Set(e.Device, e.Device+": "+what)
}

// SmokeOptions say what to prove.
type SmokeOptions struct {
	Selection
	// Ref is any image, proven by the cases of the selected target, or by
	// running it where there is none.
	Ref string
	// Devices are names; none means all.
	Devices []string
	JSON    bool
	JUnit   bool
}

// Smoke proves what is published now, or any image, on the devices.
func (w *Workspace) Smoke(ctx context.Context, o SmokeOptions) error {
	p, err := w.loadPublishable(o.Selection)
	if err != nil {
		return err
	}
	if len(p.Devices) == 0 {
		return usage("No device", errors.New("targets.hcl declares none; add for example: device \"here\" { host = \"local\" }"))
	}
	client, err := w.client(p)
	if err != nil {
		return err
	}
	var targets []*smoke.Target
	published := p.Published()
	if o.Ref != "" {
		t, err := caseOwner(published, o)
		if err != nil {
			return err
		}
		published = []*plan.Target{t}
	}
	for _, t := range published {
		ref := t.Tags[len(t.Tags)-1].String()
		if o.Ref != "" {
			ref = o.Ref
		}
		st, err := smoke.Read(ctx, client, ref)
		if registry.IsNotFound(err) && len(t.Spec.Smokes) == 0 && o.Ref == "" {
			continue // nothing to run, and nothing published that was not run
		}
		if err != nil && o.Ref == "" {
			err = unreleased(ref, err)
		}
		if err != nil {
			return interrupted(ctx, err)
		}
		st.Name, st.Cases, st.Insecure = t.Name, t.Spec.Smokes, p.Registry(plan.Host(st.Repository)).Insecure
		if len(st.Cases) == 0 && o.Ref != "" {
			st.Cases = []*config.Smoke{{Timeout: time.Minute}}
		}
		targets = append(targets, st)
		if o.Ref != "" {
			break
		}
	}
	if !slices.ContainsFunc(targets, func(t *smoke.Target) bool { return len(t.Cases) > 0 }) {
		return usage("Nothing to prove", errors.New("no selected target has a smoke block; add for example: smoke { command = [\"--version\"] }"))
	}
	fleet, err := w.devices(p, o.Devices)
	if err != nil {
		return err
	}
	defer fleet.close()
	report, err := w.runSmoke(ctx, fleet, targets, smoke.Options{Close: true, Jobs: p.Release.DevicesAtOnce})
	if err != nil {
		return interrupted(ctx, err)
	}
	switch {
	case o.JSON:
		err = report.WriteJSON(w.Streams.Out)
	case o.JUnit:
		err = report.WriteJUnit(w.Streams.Out)
	default:
		err = w.showSmoke(w.Streams.Out, report)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(w.Streams.Err, report.Summary())
	policy := smoke.Policy{Require: p.Release.RequireDevices, Emulation: p.Release.Emulation}
	if len(o.Devices) > 0 || o.Ref != "" {
		policy.Require = nil // who names devices or an image asks about those
	}
	return report.Err(policy)
}

// caseOwner is the target whose cases an image is run by: the one that has its
// repository, or the only one.
func caseOwner(published []*plan.Target, o SmokeOptions) (*plan.Target, error) {
	if len(published) == 1 {
		return published[0], nil
	}
	repository, err := registry.Repository(o.Ref)
	if err != nil {
		return nil, usage("Invalid -ref", err)
	}
	var names []string
	for _, t := range published {
		if slices.Contains(t.Repositories(), repository) {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return nil, usage("Whose cases?", fmt.Errorf("no target has the repository %s; say with -targets by whose cases the image is run: %s", repository, strings.Join(names, ", ")))
}

// unprovenLines says what was not proven and why, a line for each target and
// reason. What the table of results shows is left out.
func unprovenLines(list []smoke.Unproven, results []smoke.Result) []string {
	var keys []smoke.Unproven
	platforms := map[smoke.Unproven][]string{}
	for _, u := range list {
		shown := slices.ContainsFunc(results, func(r smoke.Result) bool {
			return r.Target == u.Target && r.Platform == u.Platform && r.Verdict != smoke.Skipped && r.Verdict != smoke.Passed
		})
		if shown {
			continue
		}
		key := smoke.Unproven{Target: u.Target, Why: u.Why}
		if platforms[key] == nil {
			keys = append(keys, key)
		}
		platforms[key] = append(platforms[key], u.Platform)
	}
	var lines []string
	for _, k := range keys {
		lines = append(lines, fmt.Sprintf("%s %s: %s", k.Target, strings.Join(platforms[k], ", "), k.Why))
	}
	return lines
}

// showSmoke is the matrix of devices and targets, then what went wrong.
func (w *Workspace) showSmoke(out *ui.Stream, r *smoke.Report) error {
	t := ui.NewTable(ui.Column{Title: "DEVICE", Keep: true}, ui.Column{Title: "TARGET"}, ui.Column{Title: "PLATFORM", Keep: true}, ui.Column{Title: "CASE"},
		ui.Column{Title: "TIME", Right: true}, ui.Column{Title: "VERDICT", Keep: true})
	fmt.Fprintln(out)
	for _, res := range r.Results {
		verdict := any(string(res.Verdict))
		switch {
		case res.Verdict == smoke.Passed:
			verdict = out.Good(string(res.Verdict))
		case res.Verdict.Bad() && !res.Optional:
			verdict = out.Bad(string(res.Verdict))
		case res.Verdict != smoke.Skipped:
			verdict = out.Warn(string(res.Verdict))
		}
		t.Row(res.Device, res.Target, res.Platform, res.Case, ui.Duration(time.Duration(res.Seconds*float64(time.Second))), verdict)
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, u := range unprovenLines(r.Unproven, r.Results) {
		fmt.Fprintf(out, "%s %s\n", out.Warn("not proven:"), ui.Clean(u))
	}
	said := map[string]bool{}
	for _, res := range r.Results {
		// A device that cannot be used says so once, not for each of its cases.
		key := res.Device + " " + res.Reason
		if res.Verdict != smoke.Unreachable {
			key += " " + res.Target + " " + res.Platform + " " + res.Case
		}
		if res.Reason == "" || said[key] {
			continue
		}
		said[key] = true
		subject := res.Target + " on " + res.Device
		if res.Verdict == smoke.Unreachable {
			subject = res.Device
		}
		fmt.Fprintf(out, "%s %s\n", out.Bold(subject+":"), ui.Clean(res.Reason))
		for line := range strings.Lines(res.Tail) {
			fmt.Fprintf(out, "  | %s\n", ui.CleanLines(strings.TrimRight(line, "\n")))
		}
		if res.Verdict.Bad() && res.Log != "" {
			fmt.Fprintf(out, "  %s\n", out.Faint("log: "+w.relative(res.Log)))
		}
	}
	return nil
}

// relative is a path below the workspace as its user writes it.
func (w *Workspace) relative(path string) string {
	if rel, err := filepath.Rel(w.Dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
