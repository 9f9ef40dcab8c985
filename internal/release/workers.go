package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

// workersTimeout bounds the look at all workers together.
const workersTimeout = 25 * time.Second

// workerView is one worker as `mage workers -json` prints it.
type workerView struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Version string `json:"version,omitempty"`
	// Native platforms it builds as its own, emulated ones it would run
	// through binfmt handlers.
	Native   []string `json:"native,omitempty"`
	Emulated []string `json:"emulated,omitempty"`
	Slots    int      `json:"slots"`
	Push     string   `json:"push"`
	// Usage of the build cache, in bytes.
	Usage *worker.Usage `json:"usage,omitempty"`
	// LatencyMS is how long it took to answer one question, in milliseconds.
	LatencyMS float64 `json:"latencyMs,omitempty"`
	// Error says why it cannot be used.
	Error string `json:"error,omitempty"`
	// Remedy says what to do next.
	Remedy string `json:"remedy,omitempty"`

	err error
}

type workersView struct {
	Workers []workerView `json:"workers"`
	// Unserved are the platforms of the matrix that no worker may build.
	Unserved []string `json:"unserved,omitempty"`
}

// Workers looks at every worker and says whether each platform of the matrix
// is served.
func (w *Workspace) Workers(ctx context.Context, s Selection, asJSON bool) error {
	_, p, err := w.Load(s)
	if err != nil {
		return err
	}
	defer w.status.Close()
	probe, cancel := context.WithTimeout(ctx, workersTimeout)
	defer cancel()
	view := workersView{Workers: make([]workerView, len(p.Workers))}
	var group sync.WaitGroup
	for i, spec := range p.Workers {
		group.Go(func() {
			w.status.Set(spec.Name, spec.Name+": connecting")
			defer w.status.Done(spec.Name)
			view.Workers[i] = w.look(probe, p, spec)
		})
	}
	group.Wait()
	w.status.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	view.Unserved = unserved(p, view.Workers)
	w.status.Close()
	if asJSON {
		err = w.writeJSON(view)
	} else {
		err = w.showWorkers(view)
	}
	if err == nil && len(view.Unserved) > 0 {
		err = &worker.NoneError{Build: strings.Join(view.Unserved, ", "), Reasons: []string{"see the table"},
			Hint: `add a worker for it, list it in a worker's emulates, or set release { emulation = "warn" }`}
	}
	return err
}

func (w *Workspace) look(ctx context.Context, p *plan.Plan, spec *config.Worker) workerView {
	v := workerView{Name: spec.Name, Address: spec.Address, Slots: spec.Slots, Push: spec.Push}
	if v.Slots == 0 {
		v.Slots = worker.DefaultSlots
	}
	c, err := w.dial(p)(ctx, spec)
	if err != nil {
		v.Error, v.err = err.Error(), err
		if r, ok := err.(interface{ Remedy() string }); ok {
			v.Remedy = r.Remedy()
		}
		return v
	}
	defer func() { _ = c.Close() }() // it was only looked at
	v.Address, v.Version = c.Address, c.Version
	for _, n := range c.Native {
		v.Native = append(v.Native, config.FormatPlatform(n))
	}
	for _, r := range c.Platforms {
		if r.Architecture == "amd64" && c.Host.Architecture == "amd64" {
			continue // a level of its own processor, which is not declared
		}
		if name := config.FormatPlatform(r); !slices.Contains(v.Native, name) {
			v.Emulated = append(v.Emulated, name)
		}
	}
	start := time.Now()
	if _, err := c.Client.Info(ctx); err == nil {
		v.LatencyMS = float64(time.Since(start).Microseconds()) / 1000
	}
	if u, err := c.Usage(ctx); err == nil {
		v.Usage = &u
	}
	return v
}

// unserved are the platforms of the matrix that no worker that answered may
// build.
func unserved(p *plan.Plan, views []workerView) []string {
	var out []string
	for _, b := range p.Builds() {
		name := b.PlatformName()
		if b.Optional || slices.Contains(out, name) {
			continue
		}
		served := slices.ContainsFunc(p.Candidates(b.Platform), func(spec *config.Worker) bool {
			i := slices.IndexFunc(views, func(v workerView) bool { return v.Name == spec.Name })
			if i < 0 || views[i].Error != "" {
				return false
			}
			return slices.Contains(views[i].Native, name) || p.Release.Emulation != "forbid"
		})
		if !served {
			out = append(out, name)
		}
	}
	return out
}

func (w *Workspace) showWorkers(view workersView) error {
	out := w.Streams.Out
	t := ui.NewTable(ui.Column{Title: "WORKER", Keep: true}, ui.Column{Title: "VERDICT", Keep: true}, ui.Column{Title: "BUILDKIT"},
		ui.Column{Title: "SLOTS", Right: true}, ui.Column{Title: "CACHE", Right: true}, ui.Column{Title: "FREE", Right: true},
		ui.Column{Title: "LATENCY", Right: true}, ui.Column{Title: "ADDRESS"})
	for _, v := range view.Workers {
		verdict := any(out.Good("ready"))
		cache, free, latency := "", "", ""
		if v.Error != "" {
			verdict = out.Bad("down")
		} else {
			latency = fmt.Sprintf("%.1f ms", v.LatencyMS)
		}
		if v.Usage != nil {
			cache = ui.Bytes(v.Usage.Cache)
			if v.Usage.Free != nil {
				free = ui.Bytes(*v.Usage.Free)
			}
		}
		t.Row(out.Bold(v.Name), verdict, v.Version, fmt.Sprint(v.Slots), cache, free, latency, v.Address)
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, v := range view.Workers {
		if len(v.Native) > 0 {
			fmt.Fprintf(out, "%s builds %s\n", out.Bold(v.Name), strings.Join(v.Native, ", "))
		}
		if len(v.Emulated) > 0 {
			fmt.Fprintf(out, "  and emulates %s\n", strings.Join(v.Emulated, ", "))
		}
		if v.Error != "" {
			fmt.Fprintf(out, "\n%s %s\n", out.Bad("down:"), ui.Clean(v.Error))
			if v.Remedy != "" {
				fmt.Fprintf(out, "%s %s\n", out.Bold("hint:"), ui.Clean(out.Commands.In(v.Remedy)))
			}
		}
	}
	return nil
}
