package release

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/device"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/ui"
)

// deviceView is one device as `mage devices -json` prints it.
type deviceView struct {
	Name     string `json:"name"`
	Host     string `json:"host,omitempty"`
	Worker   string `json:"worker,omitempty"`
	Optional bool   `json:"optional,omitempty"`
	// Facts are what the device said about itself.
	Facts *device.Facts `json:"facts,omitempty"`
	// Platform and Version are a worker's.
	Platform string `json:"platform,omitempty"`
	Version  string `json:"version,omitempty"`
	Error    string `json:"error,omitempty"`
	Remedy   string `json:"remedy,omitempty"`

	reason string // Error without the device

	err error
}

// DevicesOptions say which devices to look at and how to print them.
type DevicesOptions struct {
	Devices []string
	JSON    bool
}

// Devices looks at every device: who is reachable, what it is and runs.
func (w *Workspace) Devices(ctx context.Context, o DevicesOptions) error {
	_, p, err := w.Load(Selection{})
	if err != nil {
		return err
	}
	if len(p.Devices) == 0 {
		return usage("No device", errors.New(`targets.hcl declares none; add for example: device "here" { host = "local" }`))
	}
	fleet, err := w.devices(p, o.Devices)
	if err != nil {
		return err
	}
	defer fleet.close()
	specs, err := chooseDevices(p.Devices, o.Devices)
	if err != nil {
		return err
	}
	views := make([]deviceView, len(specs))
	var group errgroup.Group
	group.SetLimit(devicesAtOnce(p))
	for i, spec := range specs {
		group.Go(func() error {
			w.status.Set(spec.Name, spec.Name+": connecting")
			defer w.status.Done(spec.Name)
			views[i] = w.lookAt(ctx, fleet, p, spec)
			return nil
		})
	}
	_ = group.Wait() // what went wrong is in the views
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.status.Close()
	if o.JSON {
		return w.writeJSON(views)
	}
	return w.showDevices(views)
}

// devicesAtOnce is how many devices are spoken to at a time.
func devicesAtOnce(p *plan.Plan) int {
	if n := p.Release.DevicesAtOnce; n > 0 {
		return n
	}
	return defaultDevices
}

const defaultDevices = 32

// chooseDevices are those that one of the names means: a device, a group, or a
// pattern of either as path.Match takes it ("pi*"). Without names it is all.
func chooseDevices(devices []*config.Device, names []string) ([]*config.Device, error) {
	if len(names) == 0 {
		return devices, nil
	}
	means := func(name string, d *config.Device) bool {
		for _, of := range []string{d.Name, d.Group} {
			if ok, err := path.Match(name, of); of != "" && (of == name || err == nil && ok) {
				return true
			}
		}
		return false
	}
	var known []string
	for _, d := range devices {
		word := d.Name
		if d.Group != "" {
			word = d.Group + " (a group)"
		}
		if !slices.Contains(known, word) {
			known = append(known, word)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(devices, func(d *config.Device) bool { return means(name, d) }) {
			return nil, usage("Unknown device", fmt.Errorf("there is no device %q; there are: %s", name, strings.Join(known, ", ")))
		}
	}
	var out []*config.Device
	for _, d := range devices {
		if slices.ContainsFunc(names, func(name string) bool { return means(name, d) }) {
			out = append(out, d)
		}
	}
	return out, nil
}

func (w *Workspace) lookAt(ctx context.Context, f *fleetOfDevices, p *plan.Plan, spec *config.Device) deviceView {
	v := deviceView{Name: spec.Name, Host: spec.Host, Worker: spec.Worker, Optional: spec.Optional}
	fail := func(err error) deviceView {
		v.Error, v.reason, v.err = err.Error(), err.Error(), err
		var own *device.Error
		if errors.As(err, &own) {
			v.reason = own.Reason()
		}
		if r, ok := err.(interface{ Remedy() string }); ok {
			v.Remedy = r.Remedy()
		}
		return v
	}
	if spec.Worker != "" {
		c, err := f.worker(ctx, w, p, spec.Worker)
		if err != nil {
			return fail(err)
		}
		v.Platform, v.Version = config.FormatPlatform(c.Host), "BuildKit "+c.Version
		return v
	}
	for _, d := range f.devices {
		if d.Spec != spec {
			continue
		}
		facts, err := d.Probe(ctx)
		if err != nil {
			return fail(err)
		}
		v.Facts = facts
	}
	return v
}

func (w *Workspace) showDevices(views []deviceView) error {
	out := w.Streams.Out
	t := ui.NewTable(ui.Column{Title: "DEVICE", Keep: true}, ui.Column{Title: "AT"}, ui.Column{Title: "PLATFORM", Keep: true}, ui.Column{Title: "MACHINE"}, ui.Column{Title: "RUNTIME"},
		ui.Column{Title: "FREE", Right: true}, ui.Column{Title: "CLOCK", Right: true}, ui.Column{Title: "HOST KEY"}, ui.Column{Title: "VERDICT", Keep: true})
	for _, v := range views {
		at, verdict := v.Host, any(out.Good("ready"))
		if v.Worker != "" {
			at = "worker " + v.Worker
		}
		if v.Error != "" {
			verdict = out.Bad("unreachable")
			if v.Optional {
				verdict = out.Warn("unreachable, optional")
			}
		}
		if f := v.Facts; f != nil {
			free := ""
			if f.Free >= 0 {
				free = ui.Bytes(f.Free)
			}
			clock := ""
			if f.Clock.Abs() >= 2*time.Second {
				clock = f.Clock.String()
			}
			t.Row(out.Bold(v.Name), at, f.Platform, f.Machine, f.Runtime+" "+f.RuntimeVersion, free, clock, f.HostKey, verdict)
			continue
		}
		t.Row(out.Bold(v.Name), at, v.Platform, "", v.Version, "", "", "", verdict)
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, v := range views {
		if v.Facts != nil && len(v.Facts.Masks) > 0 {
			paragraph(out, "note:", fmt.Sprintf("%s has %s (QEMU's binfmt handlers), which let a binary for the wrong processor run unnoticed", v.Name, count(len(v.Facts.Masks), "emulator")))
		}
		if v.Error != "" {
			paragraph(out, v.Name+":", v.reason)
			if v.Remedy != "" {
				paragraph(out, "hint:", out.Commands.In(v.Remedy))
			}
		}
	}
	return nil
}

// paragraph writes a text behind its heading, on a terminal in lines that fit.
func paragraph(out *ui.Stream, heading, text string) {
	lines := []string{ui.Clean(text)}
	indent := len(heading) + 1
	if out.IsTerminal() {
		lines = ui.Wrap(lines[0], out.Width()-indent)
	}
	fmt.Fprintf(out, "%s %s\n", out.Bold(heading), strings.Join(lines, "\n"+strings.Repeat(" ", indent)))
}

// wipeDevices removes images of the matrix from the devices.
func (w *Workspace) wipeDevices(ctx context.Context, p *plan.Plan, o WipeOptions) error {
	fleet, err := w.devices(p, o.Devices)
	if err != nil {
		return err
	}
	defer fleet.close()
	var repositories []string
	for _, t := range p.Published() {
		repositories = append(repositories, t.Repositories()...)
	}
	reports := make([]*device.WipeReport, len(fleet.devices))
	errs := make([]error, len(fleet.devices))
	var group errgroup.Group
	group.SetLimit(devicesAtOnce(p))
	for i, d := range fleet.devices {
		group.Go(func() error {
			reports[i], errs[i] = d.Wipe(ctx, device.WipeRequest{Repositories: repositories, All: o.All, DryRun: o.DryRun, Stop: o.Stop})
			if errs[i] != nil && d.Spec.Optional {
				w.status.Warn(errs[i].Error())
				errs[i] = nil
			}
			return nil
		})
	}
	_ = group.Wait() // errors are kept by device
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.status.Close()
	title := "WIPED"
	if o.DryRun {
		title = "WOULD GO"
	}
	out := w.Streams.Out
	t := ui.NewTable(ui.Column{Title: "DEVICE", Keep: true}, ui.Column{Title: title}, ui.Column{Title: "SIZE", Right: true}, ui.Column{Title: "NOTE"})
	t.Empty = "no image of these repositories is on the devices"
	var sum int64
	for i, d := range fleet.devices {
		if reports[i] == nil {
			continue
		}
		sum += reports[i].Bytes
		for _, im := range reports[i].Images {
			note, by := im.Problem, strings.Join(im.UsedBy, ", ")
			switch {
			case by == "":
			case im.Removed:
				note = "ended " + by + ", which used it"
			case o.DryRun && o.Stop:
				note = "ends " + by + ", which uses it"
			case note == "":
				note = "kept: in use by " + by + "; -stop ends it"
			}
			t.Row(d.Spec.Name, strings.Join(im.Names, ", "), ui.Bytes(im.Bytes), note)
		}
		for _, c := range reports[i].Containers {
			t.Row(d.Spec.Name, "container "+c, "", "")
		}
	}
	if err := t.Write(out); err != nil {
		return err
	}
	if sum > 0 {
		fmt.Fprintf(out, "%s in all\n", ui.Bytes(sum))
	}
	return errors.Join(errs...)
}
