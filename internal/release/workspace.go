// Package release runs a plan from the first solve to the last tag, and keeps
// the record of it.
package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// Workspace is where the tasks work: a directory with a targets.hcl, and what
// surrounds the process.
type Workspace struct {
	// Dir is the directory, absolute.
	Dir     string
	Streams *ui.Streams
	// Environ is the environment in the form of os.Environ.
	Environ []string
	// Hooks are those of a Go program that uses the workspace.
	Hooks []Hook
	// Set are overrides for every task, as of docker buildx bake --set.
	Set []string
	// Progress is how builds are shown: auto, plain, tty or quiet.
	Progress string

	journal *journal.Store
	opened  time.Time
	// proven says what the devices of this run showed, for the last line; ""
	// where none was to be asked.
	proven string
	// ran are the stages of this run, in order.
	ran     []stage
	status  *ui.Status
	traffic *traffic
	machine func() (*embedded.Machine, error)
	// elsewhere are moves of promotions of other workspaces that did not end.
	elsewhere []journal.Move
}

// Open returns the workspace of a directory.
func Open(dir string, streams *ui.Streams, environ []string) (*Workspace, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the working directory: %w", err)
	}
	status := ui.NewStatus(streams.Err)
	w := &Workspace{Dir: abs, Streams: streams, Environ: environ, journal: journal.Open(filepath.Join(abs, journal.Dir)), opened: time.Now(), status: status, traffic: &traffic{status: status}}
	w.machine = sync.OnceValues(func() (*embedded.Machine, error) {
		return embedded.New(w.Environ, w.report)
	})
	if v := w.Getenv("ARCHMAGE_PROGRESS"); v != "" {
		w.Progress = v
	} else if v := w.Getenv("BUILDKIT_PROGRESS"); v != "" {
		w.Progress = v
	}
	if err := w.checkProgress(); err != nil {
		return nil, err
	}
	return w, nil
}

// checkProgress refuses a display that there is not. Those of docker buildx that
// print for machines are taken for the plain one.
func (w *Workspace) checkProgress() error {
	switch w.Progress {
	case "", "auto", "plain", "tty", "quiet":
	case "rawjson", "none":
		w.Progress = "plain"
	default:
		return usage("Invalid ARCHMAGE_PROGRESS", fmt.Errorf("the display %q is none of auto, plain, tty and quiet (ARCHMAGE_PROGRESS, BUILDKIT_PROGRESS)", w.Progress))
	}
	return nil
}

// LookupEnv is os.LookupEnv for the workspace's environment.
func (w *Workspace) LookupEnv(key string) (string, bool) {
	for i := len(w.Environ) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(w.Environ[i], "="); k == key {
			return v, true
		}
	}
	return "", false
}

// Getenv is os.Getenv for the workspace's environment.
func (w *Workspace) Getenv(key string) string {
	v, _ := w.LookupEnv(key)
	return v
}

// path is a place in the state directory.
func (w *Workspace) path(parts ...string) string {
	return filepath.Join(append([]string{w.journal.Path}, parts...)...)
}

// layout is where the drafts lie.
func (w *Workspace) layout() string { return w.path("layout") }

// Selection narrows what a task works on.
type Selection struct {
	// Targets are names and patterns of targets and groups; none means the
	// default ones.
	Targets []string
	// Platforms limit builds; none means all.
	Platforms []string
	// Files are read instead of ARCHMAGE_FILE or the default ones.
	Files []string
}

// InputError is a configuration or an option that cannot be meant.
type InputError struct {
	Diags   hcl.Diagnostics
	Sources map[string]*hcl.File
}

func (e *InputError) Error() string {
	n := 0
	first := ""
	for _, d := range e.Diags {
		if d.Severity == hcl.DiagError {
			n++
			if first == "" {
				first = d.Summary + ": " + d.Detail
			}
		}
	}
	if n == 1 {
		return first
	}
	return fmt.Sprintf("%s (and %d more)", first, n-1)
}

// usage is an InputError about an option.
func usage(summary string, err error) error {
	return &InputError{Diags: hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: config.Sentence(err)}}}
}

// Usage is an InputError about an option that a caller of this package read.
func Usage(summary string, err error) error { return usage(summary, err) }

// files are those that the environment names, archmage's own variable first; nil
// for the default ones.
func (w *Workspace) files() []string {
	if v := w.Getenv("ARCHMAGE_FILE"); v != "" {
		return filepath.SplitList(v)
	}
	separator := cmp.Or(w.Getenv("BUILDX_BAKE_PATH_SEPARATOR"), string(filepath.ListSeparator))
	var out []string
	for _, f := range strings.Split(w.Getenv("BUILDX_BAKE_FILE"), separator) {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

// read reads the configuration. The error is an InputError.
func (w *Workspace) read(s Selection) (*config.Config, error) {
	files := s.Files
	if len(files) == 0 {
		files = w.files()
	}
	c, diags := config.Load(config.Options{Dir: w.Dir, Files: files, LookupEnv: w.LookupEnv, Environ: w.Environ})
	if diags.HasErrors() {
		diags = append(diags, c.Judge(s.Targets, w.Set)...)
	}
	return c, w.judge(c, diags)
}

// judge gives errors back, and shows what are only warnings.
func (w *Workspace) judge(c *config.Config, diags hcl.Diagnostics) error {
	if diags.HasErrors() {
		return &InputError{Diags: diags, Sources: c.Sources}
	}
	return ui.Diagnostics(w.Streams.Err, diags, c.Sources)
}

// Load reads the configuration and plans. The error is an InputError.
func (w *Workspace) Load(s Selection) (*config.Config, *plan.Plan, error) {
	c, err := w.read(s)
	if err != nil {
		return nil, nil, err
	}
	p, diags := plan.New(c, plan.Options{Targets: s.Targets, Platforms: s.Platforms, Set: w.Set})
	if !diags.HasErrors() {
		diags = append(diags, w.checkFiles(p)...)
		diags = append(diags, w.checkOutputs(p)...)
	}
	if err := w.judge(c, diags); err != nil {
		return nil, nil, err
	}
	return c, p, nil
}

// loadPublishable is Load for tasks that push.
func (w *Workspace) loadPublishable(s Selection) (*plan.Plan, error) {
	c, p, err := w.Load(s)
	if err != nil {
		return nil, err
	}
	if diags := append(p.CheckPublish(), w.checkInputs(p, c.Sources)...); diags.HasErrors() {
		return nil, &InputError{Diags: diags, Sources: c.Sources}
	}
	return p, ui.Diagnostics(w.Streams.Err, append(p.Notes(), p.Warnings...), c.Sources)
}

// alone runs a task that publishes, with nobody else in the workspace.
func (w *Workspace) alone(s Selection, do func(*plan.Plan, *registry.Client) error) error {
	p, err := w.loadPublishable(s)
	if err != nil {
		return err
	}
	return w.locked(p, func(client *registry.Client) error { return do(p, client) })
}

// locked runs what changes the state or the registries of a plan.
func (w *Workspace) locked(p *plan.Plan, do func(*registry.Client) error) error {
	client, err := w.client(p)
	if err != nil {
		return err
	}
	unlock, err := w.journal.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	return do(client)
}

// client talks to the registries of the plan.
func (w *Workspace) client(p *plan.Plan) (*registry.Client, error) { return w.clientOf(p, 0) }

// clientOf is client with a number of attempts, 0 for as many as usual.
func (w *Workspace) clientOf(p *plan.Plan, attempts int) (*registry.Client, error) {
	var hosts []registry.Host
	for _, r := range p.Registries {
		h := registry.Host{Name: r.Host, PlainHTTP: r.Insecure || r.Embedded, SkipVerify: r.Insecure}
		if r.CA != "" {
			h.CAFile = w.absolute(r.CA)
		}
		hosts = append(hosts, h)
	}
	return registry.New(hosts, registry.Options{
		Credentials: w.logins(), UserAgent: "archmage", Progress: w.traffic.report, Attempts: attempts,
		Waiting: func(p registry.Wait) {
			w.say("registry %s asks for a pause: going on in %s", p.Host, ui.Duration(p.Duration))
		},
	})
}

// say prints a line for people.
func (w *Workspace) say(format string, args ...any) {
	if w.Progress != "quiet" {
		w.status.Print(fmt.Sprintf(format, args...))
	}
}

// report shows what the embedded daemons are doing.
func (w *Workspace) report(e embedded.Event) {
	switch e.Phase {
	case embedded.Ready, embedded.Compiled, embedded.Stopped, embedded.Note:
		w.status.Done(e.Subject)
		w.status.Print(e.String() + elapsed(e))
	case embedded.Reused:
		w.status.Done(e.Subject)
	default:
		w.status.Set(e.Subject, e.String())
	}
}

func elapsed(e embedded.Event) string {
	if e.Elapsed.Seconds() < 1 {
		return ""
	}
	return " (" + ui.Duration(e.Elapsed) + ")"
}

// interrupted gives the cause where ctx has ended, else err. Tags that were
// left half moved are told in any case.
func interrupted(ctx context.Context, err error) error {
	var half *index.HalfMovedError
	var unsettled *index.UnsettledError
	if err != nil && ctx.Err() != nil && !errors.As(err, &half) && !errors.As(err, &unsettled) {
		return context.Cause(ctx)
	}
	return err
}
