package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
)

// Hook is a function of a Go program, run before or after a step of a release.
// If it fails, the release stops there.
type Hook struct {
	// Point is when it runs, such as "before-promote"; see config.Steps.
	Point string
	// Timeout bounds it; 0 means 10 minutes. Its context ends then, and the
	// release does not wait for a function that does not return.
	Timeout time.Duration
	Run     func(context.Context, *Draft) error
}

// Draft is what a hook is told about the release.
type Draft struct {
	// Hook is the point, such as "before-promote".
	Hook string `json:"hook"`
	// Release is the id of the release, "" before it was begun.
	Release string `json:"release,omitempty"`
	// Dir is the directory of targets.hcl, Layout an OCI image layout with the
	// indexes by the names of their targets. Both are absolute.
	Dir    string `json:"dir"`
	Layout string `json:"layout"`
	// Targets are those that are published, in the order of the plan.
	Targets []DraftTarget `json:"targets"`
	// Out is for what people shall read. Secrets of the release are masked.
	Out io.Writer `json:"-"`
}

// DraftTarget is one index that shall be published.
type DraftTarget struct {
	Name string `json:"name"`
	// Index is its digest, "" until it was assembled.
	Index digest.Digest `json:"index,omitempty"`
	// Tags are complete references.
	Tags []string `json:"tags"`
	// Platforms are its images, in order; none until they were built.
	Platforms []DraftPlatform `json:"platforms,omitempty"`
}

// DraftPlatform is the image of one platform. It can be pulled by its digest
// from when it was built.
type DraftPlatform struct {
	Platform   string        `json:"platform"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
}

// HookError is a hook that failed.
type HookError struct {
	Point string
	// Problem says how, without what is secret.
	Problem string
	// Log is the end of what it printed, without what is secret.
	Log []string
	// Moved reports that the tags had moved before.
	Moved bool
	// Err is the hook's own error. Its text may hold secrets.
	Err error
}

func (e *HookError) Error() string {
	text := fmt.Sprintf("the hook %s %s; no tag has moved", e.Point, e.Problem)
	if e.Moved {
		text = fmt.Sprintf("the tags have moved, but the hook %s %s", e.Point, e.Problem)
	}
	for _, l := range e.Log {
		text += "\n  | " + l
	}
	return text
}

func (e *HookError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *HookError) Remedy() string {
	if e.Moved {
		return "look at what the hook says; `mage rollback` puts the tags back to what they were"
	}
	return "look at what the hook says and run the same command again"
}

// hookTail is how many lines of a hook's output its error repeats.
const hookTail = 10

// hookGrace is how long a hook has to return when its context has ended: longer
// than a command is given to end, with what it started.
const hookGrace = 10 * time.Second

// hooks are those of one run: the Go program's first, then those of targets.hcl.
type hooks struct {
	list []Hook
	mask mask
}

func (w *Workspace) hooks(p *plan.Plan) (*hooks, error) {
	h := &hooks{list: slices.Clone(w.Hooks)}
	for _, hook := range w.Hooks {
		if err := config.CheckHookPoint(hook.Point); err != nil {
			return nil, usage("Invalid hook", err)
		}
		if hook.Run == nil {
			return nil, usage("Invalid hook", fmt.Errorf("the hook %s has no function", hook.Point))
		}
	}
	for _, c := range p.Hooks {
		h.list = append(h.list, Hook{Point: c.Point, Timeout: c.Timeout, Run: func(ctx context.Context, d *Draft) error {
			return w.runCommand(ctx, c, d)
		}})
	}
	if len(h.list) > 0 {
		h.mask = w.secrets(p)
	}
	return h, nil
}

// hook runs the hooks of one point, and looks whether they left the drafts alone.
func (p *pipeline) hook(ctx context.Context, point string) error {
	for _, h := range p.hooks.list {
		if h.Point != point {
			continue
		}
		draft := p.draft(point)
		out := &hookOutput{w: p.w, mask: p.hooks.mask, point: point}
		draft.Out = out
		began := time.Now()
		err := h.run(ctx, draft)
		tail := out.flush()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fail := &HookError{Point: point, Err: err, Log: tail, Moved: p.record != nil && p.record.Reached(journal.Promoted)}
		switch {
		case errors.Is(err, errHookTimeout):
			fail.Problem = fmt.Sprintf("did not end within %s", h.timeout())
			return fail
		case err != nil:
			fail.Problem = "failed: " + p.hooks.mask.lines(err.Error())
			return fail
		}
		if fail.Err = p.unchanged(); fail.Err != nil {
			fail.Problem = "changed what shall be released: " + fail.Err.Error()
			return fail
		}
		p.w.say("hook %s passed in %s", point, time.Since(began).Round(10*time.Millisecond))
	}
	return nil
}

func (h Hook) timeout() time.Duration {
	if h.Timeout > 0 {
		return h.Timeout
	}
	return config.HookTimeout
}

var errHookTimeout = errors.New("the hook's time is over")

// run runs the hook within its time.
func (h Hook) run(ctx context.Context, d *Draft) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.timeout(), errHookTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panic: %v", r)
			}
		}()
		done <- h.Run(ctx, d)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(hookGrace):
			err = context.Cause(ctx)
		}
	}
	if err != nil && context.Cause(ctx) == errHookTimeout { //nolint:errorlint // it is the cause itself
		return errHookTimeout
	}
	return err
}

// draft is what is known of the release at this point.
func (p *pipeline) draft(point string) *Draft {
	d := &Draft{Hook: point, Dir: p.w.Dir, Layout: p.w.layout()}
	if p.record != nil {
		d.Release = p.record.ID
	}
	for _, t := range p.plan.Published() {
		dt := DraftTarget{Name: t.Name}
		for _, tag := range t.Tags {
			dt.Tags = append(dt.Tags, tag.String())
		}
		if p.record != nil && p.record.Target(t.Name) != nil {
			tr := p.record.Target(t.Name)
			dt.Index = tr.Index
			for _, c := range tr.Children {
				dt.Platforms = append(dt.Platforms, DraftPlatform{c.Platform, c.Repository, c.Digest})
			}
		}
		d.Targets = append(d.Targets, dt)
	}
	return d
}

// unchanged reads the drafts that were assembled again.
func (p *pipeline) unchanged() error {
	if p.record == nil {
		return nil
	}
	for _, t := range p.plan.Published() {
		tr := p.record.Target(t.Name)
		if tr == nil || tr.Index == "" {
			continue
		}
		d, err := index.Open(p.w.layout(), t.Name)
		if err != nil {
			return fmt.Errorf("the draft of %q: %w", t.Name, err)
		}
		if d.Descriptor.Digest != tr.Index {
			return fmt.Errorf("the draft of %q was %s, and is %s", t.Name, tr.Index, d.Descriptor.Digest)
		}
	}
	return nil
}

// runCommand runs a hook of targets.hcl. It has the draft in its environment:
// ARCHMAGE_HOOK, ARCHMAGE_RELEASE, ARCHMAGE_LAYOUT, ARCHMAGE_DRAFT (a file with
// the Draft as JSON), ARCHMAGE_DIGEST_name for each target, and ARCHMAGE_DIGEST
// where there is one target only.
func (w *Workspace) runCommand(ctx context.Context, c *config.Hook, d *Draft) error {
	file, err := os.CreateTemp(w.path(), "hook-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	err = json.NewEncoder(file).Encode(d)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	env := slices.Clone(w.Environ)
	for k, v := range c.Env {
		env = append(env, k+"="+v)
	}
	env = append(env, "ARCHMAGE_HOOK="+d.Hook, "ARCHMAGE_RELEASE="+d.Release, "ARCHMAGE_LAYOUT="+d.Layout, "ARCHMAGE_DRAFT="+file.Name())
	for _, t := range d.Targets {
		env = append(env, "ARCHMAGE_DIGEST_"+variableName(t.Name)+"="+t.Index.String())
	}
	if len(d.Targets) == 1 {
		env = append(env, "ARCHMAGE_DIGEST="+d.Targets[0].Index.String())
	}
	dir := w.Dir
	if c.Dir != "" {
		dir = w.absolute(c.Dir)
	}
	err = build.Command(ctx, c.Command, dir, env, func(line string) { fmt.Fprintln(d.Out, line) })
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("there is no program %q on this machine", c.Command[0])
	}
	return err
}

// variableName is a name as it can stand in that of an environment variable.
func variableName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}

// hookOutput shows what a hook prints, line by line, masked.
type hookOutput struct {
	mu    sync.Mutex
	w     *Workspace
	mask  mask
	point string
	part  []byte
	tail  []string
}

// maxHookLine is how much of a line is kept, in bytes.
const maxHookLine = 4096

func (o *hookOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for rest := p; ; {
		line, after, whole := strings.Cut(string(rest), "\n")
		if len(o.part) < 2*maxHookLine {
			o.part = append(o.part, line...)
		}
		if !whole {
			return len(p), nil
		}
		o.line()
		rest = []byte(after)
	}
}

// flush shows what has no end of line, and returns the last lines.
func (o *hookOutput) flush() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.part) > 0 {
		o.line()
	}
	return slices.Clone(o.tail)
}

func (o *hookOutput) line() {
	text := strings.TrimSuffix(string(o.part), "\r")
	o.part = o.part[:0]
	text = o.mask.line(text)
	if len(text) > maxHookLine {
		text = text[:maxHookLine] + " …"
	}
	o.tail = append(o.tail, text)
	o.tail = o.tail[max(0, len(o.tail)-hookTail):]
	o.w.say("%s: %s", o.point, text)
}
