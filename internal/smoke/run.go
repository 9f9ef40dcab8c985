package smoke

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/ui"
)

// Options are how a run is done.
type Options struct {
	// Jobs is how many devices work at a time; 0 means 32.
	Jobs int
	// LogDir takes a file of output for each result; "" keeps none.
	LogDir string
	// Wipe removes the targets' images from each device first, so that each
	// pull is real.
	Wipe bool
	// Close ends each device's connection as soon as it has done its part,
	// which bounds what many devices cost. It is wrong where the same
	// connections are used later, for VerifyTags.
	Close bool
	// Event is told what each device is doing. It is called from several
	// goroutines, one call at a time. May be nil.
	Event func(Event)
}

// Event is a step of one device.
type Event struct {
	Device string
	// Target and Case are "" for what concerns the device as a whole.
	Target string
	Case   string
	// State is in words: "connecting", "wiping", "pulling", "running", "done".
	State string
	// Verdict is that of State "done" of a case.
	Verdict Verdict
	Reason  string
}

const defaultJobs = 32

// Run proves the targets on the machines, side by side, each one's own steps in
// order. The conclusion covers all targets, those without cases too. What goes wrong on a device is in the report; an error is the
// context's cause, and the report then holds what was done by then.
func Run(ctx context.Context, provers []Prover, targets []*Target, o Options) (*Report, error) {
	begin := time.Now()
	report := &Report{Schema: ReportSchema, Started: begin.UTC().Truncate(time.Second)}
	say := serial(o.Event)
	runs := make([]*deviceRun, len(provers))
	g := new(errgroup.Group)
	g.SetLimit(jobs(o.Jobs))
	for i, p := range provers {
		runs[i] = &deviceRun{prover: p, targets: targets, options: o, say: say}
		g.Go(func() error {
			runs[i].do(ctx)
			return nil
		})
	}
	_ = g.Wait() // every device keeps its own errors
	for _, r := range runs {
		report.Devices = append(report.Devices, r.report)
		report.Results = append(report.Results, r.results...)
	}
	report.conclude(targets)
	report.Seconds = time.Since(begin).Seconds()
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	return report, nil
}

func jobs(n int) int {
	if n <= 0 {
		return defaultJobs
	}
	return n
}

func serial(event func(Event)) func(Event) {
	if event == nil {
		return func(Event) {}
	}
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		event(e)
	}
}

// deviceRun is one device's part.
type deviceRun struct {
	prover  Prover
	targets []*Target
	options Options
	say     func(Event)

	report  DeviceReport
	results []Result
	// lost is why the device can do no more.
	lost error
}

func (r *deviceRun) do(ctx context.Context) {
	begin := time.Now()
	spec := r.prover.spec()
	r.report = DeviceReport{Name: spec.Name, Optional: spec.Optional}
	defer func() {
		if r.options.Close {
			_ = r.prover.close() // it has done its part
		}
		r.report.Seconds = time.Since(begin).Seconds()
	}()
	r.tell("", "", "connecting")
	m, err := r.prover.ready(ctx)
	if err == nil && r.options.Wipe {
		r.tell("", "", "wiping")
		var repositories []string
		for _, t := range r.targets {
			if len(t.Cases) > 0 {
				repositories = append(repositories, t.Repository)
			}
		}
		err = r.prover.wipe(ctx, repositories)
	}
	if err != nil {
		r.lost = err
		r.report.Problem = ui.Clean(err.Error())
	}
	r.report.Facts, r.report.Warning = m.facts, m.warning
	for _, t := range r.targets {
		if ctx.Err() != nil {
			return
		}
		if len(t.Cases) > 0 { // else the conclusion says that nothing ran
			r.target(ctx, m, t)
		}
	}
	r.tell("", "", "done")
}

func (r *deviceRun) tell(target, name, state string) {
	r.say(Event{Device: r.report.Name, Target: target, Case: name, State: state})
}

func (r *deviceRun) target(ctx context.Context, m machine, t *Target) {
	if r.lost != nil {
		r.cases(t, r.declared(), r.lost, 0)
		return
	}
	wanted := [][]string{m.platforms}
	if m.all {
		wanted = nil
		for _, p := range m.platforms {
			wanted = append(wanted, []string{p})
		}
	}
	fits := false
	for _, w := range wanted {
		c, err := t.pick(w)
		switch {
		case err != nil:
			fits = true
			for i := range t.Cases {
				r.add(Result{Target: t.Name, Case: caseName(t, i), Platform: w[0], Verdict: Failed, Reason: err.Error()})
			}
		case c != nil:
			fits = true
			r.child(ctx, m, t, c)
		}
	}
	if !fits {
		r.add(Result{Target: t.Name, Verdict: Skipped, Reason: fmt.Sprintf("it is built for %s, the device runs %s", t.platformNames(), strings.Join(m.platforms, ", "))})
	}
}

// declared is the platform of a device that could not be asked.
func (r *deviceRun) declared() *Child {
	if p := r.prover.spec().Platform; p != nil {
		return &Child{Platform: *p}
	}
	return nil
}

// child pulls one image and runs its cases.
func (r *deviceRun) child(ctx context.Context, m machine, t *Target, c *Child) {
	r.tell(t.Name, "", "pulling")
	begin := time.Now()
	p, err := r.prover.pull(ctx, t, c, m.natural != "" && m.natural == c.Name())
	took := time.Since(begin).Seconds()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.cases(t, c, err, 0)
		return
	}
	for i, s := range t.Cases {
		res := Result{Target: t.Name, Case: caseName(t, i), Platform: c.Name(), Digest: c.Digest.String(), Note: p.note, Pull: took}
		took = 0 // the first case waited for it
		if p.strange != "" {
			res.Verdict, res.Reason = WrongPlatform, ui.Clean(p.strange)
			r.add(res)
			continue
		}
		r.tell(t.Name, res.Case, "running")
		r.one(ctx, m, p, c, s, &res)
		if ctx.Err() != nil {
			return
		}
		r.add(res)
		if r.lost != nil {
			r.cases(t, c, r.lost, i+1)
			return
		}
	}
}

// one runs a case, again where it failed and retries are declared.
func (r *deviceRun) one(ctx context.Context, m machine, p pulled, c *Child, s *config.Smoke, res *Result) {
	for {
		res.Tries++
		o, err := r.prover.run(ctx, p, c, s)
		if ctx.Err() != nil {
			return
		}
		res.Seconds += o.took.Seconds()
		res.ExitCode = nil
		if o.ended && err == nil {
			code := o.exitCode
			res.ExitCode = &code
		}
		if err != nil {
			res.Verdict, res.Reason = classify(err)
			res.Reason, res.Hint = ui.Clean(res.Reason), hint(err)
		} else {
			res.Verdict, res.Reason = judge(s, o)
		}
		res.Tail, res.Log = tail(o), ""
		if len(o.stdout)+len(o.stderr) > 0 {
			res.Log = r.keep(res, o)
		}
		if res.Verdict == Unreachable {
			r.lost = err
			return
		}
		if res.Verdict != Failed && res.Verdict != TimedOut || res.Tries > s.Retries {
			break
		}
	}
	if res.Verdict == Passed && !m.native(c) {
		res.Verdict = Emulated
		res.Reason = c.Name() + " is not what the device's processor runs by itself"
	}
}

// cases gives the cases of a target, from one on, the verdict of an error.
func (r *deviceRun) cases(t *Target, c *Child, err error, from int) {
	v, reason := classify(err)
	if v == Unreachable {
		r.lost = err
	}
	for i := from; i < len(t.Cases); i++ {
		res := Result{Target: t.Name, Case: caseName(t, i), Verdict: v, Reason: ui.Clean(reason), Hint: hint(err)}
		if c != nil {
			res.Platform, res.Digest = c.Name(), c.Digest.String()
		}
		r.add(res)
	}
}

func (r *deviceRun) add(res Result) {
	res.Device, res.Optional = r.report.Name, r.report.Optional
	r.results = append(r.results, res)
	r.say(Event{Device: res.Device, Target: res.Target, Case: res.Case, State: "done", Verdict: res.Verdict, Reason: res.Reason})
}

// caseName is the declared name, else the command, numbered where two are the same.
func caseName(t *Target, i int) string {
	plain := func(s *config.Smoke) string {
		switch {
		case s.Name != "":
			return s.Name
		case len(s.Command) > 0:
			return strings.Join(s.Command, " ")
		case s.HTTP != nil:
			return fmt.Sprintf("http :%d%s", s.HTTP.Port, s.HTTP.Path)
		}
		return "start"
	}
	name := ui.Clean(plain(t.Cases[i]))
	if r := []rune(name); len(r) > 60 {
		name = string(r[:60]) + "…"
	}
	same := 0
	for _, s := range t.Cases[:i] {
		if plain(s) == plain(t.Cases[i]) {
			same++
		}
	}
	if same > 0 {
		name = fmt.Sprintf("%s #%d", name, same+1)
	}
	return name
}
