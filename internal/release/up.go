package release

import (
	"context"
	"fmt"

	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

// Up starts what the release would start: the workers at "auto" and the
// embedded registries.
func (w *Workspace) Up(ctx context.Context) error {
	_, p, err := w.Load(Selection{})
	if err != nil {
		return err
	}
	defer w.status.Close()
	for _, r := range p.Registries {
		if r.Embedded {
			if err := w.startRegistry(ctx, r.Host); err != nil {
				return err
			}
		}
	}
	for _, spec := range p.Workers {
		if spec.Address != "auto" {
			continue
		}
		c, err := w.connect(ctx, spec, worker.Options{})
		if err != nil {
			return interrupted(ctx, err)
		}
		w.say("worker %s: BuildKit %s at %s", c.Name, c.Version, c.Address)
		_ = c.Close()
	}
	m, err := w.machine()
	if err != nil {
		return err
	}
	running, err := m.Status()
	if err != nil {
		return err
	}
	w.status.Close()
	return w.showDaemons(running)
}

// Down ends everything that archmage started on this machine. Data, caches and
// images stay.
func (w *Workspace) Down(ctx context.Context) error {
	defer w.status.Close()
	m, err := w.machine()
	if err != nil {
		return err
	}
	ended, err := m.Down(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	container, err := worker.StopContainer(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	if container {
		w.say("removed the BuildKit container; its cache stays in its volume")
	}
	if len(ended) == 0 && !container {
		w.say("nothing of archmage was running")
	}
	return nil
}

func (w *Workspace) showDaemons(ds []embedded.Daemon) error {
	t := ui.NewTable(ui.Column{Title: "RUNNING"}, ui.Column{Title: "ADDRESS"}, ui.Column{Title: "PID", Right: true}, ui.Column{Title: "LOG"})
	for _, d := range ds {
		t.Row(d.Name, d.Address, fmt.Sprint(d.PID), d.Log)
	}
	return t.Write(w.Streams.Out)
}
