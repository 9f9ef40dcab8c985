// Package api has the tasks as functions of Go, for magefiles and other programs.
//
// Every function takes one options struct or none, so each can be a dependency:
//
//	mg.Deps(api.Release)
//	mg.Deps(api.With(api.Release, api.ReleaseOptions{Targets: []string{"app"}}))
//	err := api.Release(ctx, api.ReleaseOptions{Project: api.Project{Dir: "services/app"}})
//
// What fails is an *Error, which tells mage the exit code.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/magefile/mage/mg"

	"github.com/archmage-build/archmage/internal/release"
	"github.com/archmage-build/archmage/internal/ui"
)

// Project says where a task works, and what surrounds it. The zero Project is
// that of this process.
type Project struct {
	// Dir has the targets.hcl; "" is the working directory.
	Dir string
	// Files are read instead of the default ones, as with ARCHMAGE_FILE.
	Files []string
	// Set are overrides as of docker buildx bake --set: app.args.V=1.
	Set []string
	// Env is added to the environment of this process, as KEY=VALUE.
	Env []string
	// Hooks run before those of targets.hcl.
	Hooks []Hook `json:"-"`
	// Stdin, Stdout and Stderr stand for those of this process. A writer that
	// is given is no terminal.
	Stdin          io.Reader `json:"-"`
	Stdout, Stderr io.Writer `json:"-"`
	// Command is how hints name the tasks: "archmage"; "" is found out.
	Command string
}

// Hook is a function that runs before or after a step of a release:
// before- or after- and build, assemble, annotate, inspect, upload, prove, sign,
// promote or verify. If it fails, the release stops, and before the tags moved
// none of them does. Of several for one point, the first runs first.
type Hook = release.Hook

// Draft is what a hook is told: the targets with their tags and, as soon as
// there are any, digests.
type (
	Draft         = release.Draft
	DraftTarget   = release.DraftTarget
	DraftPlatform = release.DraftPlatform
)

// Before makes a hook that runs before a step.
func Before(step string, run func(context.Context, *Draft) error) Hook {
	return Hook{Point: "before-" + step, Run: run}
}

// After makes a hook that runs after a step.
func After(step string, run func(context.Context, *Draft) error) Hook {
	return Hook{Point: "after-" + step, Run: run}
}

// With is a task with its options, as a dependency for mg.Deps. Tasks with the
// same options run once; one with hooks or writers is like no other.
func With[O any](task func(context.Context, ...O) error, options O) mg.Fn {
	id, err := json.Marshal(options)
	if err != nil {
		panic(fmt.Errorf("options as an id for mg.Deps: %w", err)) // no options of ours
	}
	f := fn{name: runtime.FuncForPC(reflect.ValueOf(task).Pointer()).Name(), id: string(id)}
	if p, ok := any(options).(interface{ unique() bool }); ok && p.unique() {
		f.id += fmt.Sprint(" ", unique.Add(1))
	}
	f.run = func(ctx context.Context) error { return task(ctx, options) }
	return f
}

var unique atomic.Int64

// unique reports whether the project has what no id can tell.
func (p Project) unique() bool {
	return len(p.Hooks) > 0 || p.Stdin != nil || p.Stdout != nil || p.Stderr != nil
}

type fn struct {
	name, id string
	run      func(context.Context) error
}

func (f fn) Name() string                  { return f.name }
func (f fn) ID() string                    { return f.id }
func (f fn) Run(ctx context.Context) error { return f.run(ctx) }

// do opens the workspace of a project, runs the task there and says what went
// wrong.
func (p Project) do(ctx context.Context, task func(context.Context, *release.Workspace) error) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	streams := p.streams()
	w, err := p.open(streams)
	if err == nil {
		w.Hooks, w.Set = p.Hooks, p.Set
		err = task(ctx, w)
	}
	return failure(ctx, streams, err)
}

// open is the workspace of the project.
func (p Project) open(streams *ui.Streams) (*release.Workspace, error) {
	environ := append(os.Environ(), p.Env...)
	if len(p.Files) > 0 {
		environ = append(environ, "ARCHMAGE_FILE="+strings.Join(p.Files, string(filepath.ListSeparator)))
	}
	dir := p.Dir
	if dir == "" {
		dir = "."
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, release.Usage("No such directory", fmt.Errorf("%q is no directory", dir))
	}
	return release.Open(dir, streams, environ)
}

func (p Project) streams() *ui.Streams {
	s := ui.Capture(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	if p.Stdin != nil {
		s.In = p.Stdin
	}
	if p.Stdout != nil {
		s.Out = ui.NewStream(p.Stdout, ui.Traits{})
	}
	if p.Stderr != nil {
		s.Err = ui.NewStream(p.Stderr, ui.Traits{})
	}
	c := commands(p.Command)
	s.Out.Commands, s.Err.Commands = c, c
	return s
}

// run does a task with the options that were given: one struct, or none.
func run[O interface{ project() Project }](ctx context.Context, options []O, task func(context.Context, *release.Workspace, O) error) error {
	var o O
	if len(options) > 0 {
		o = options[0]
	}
	return o.project().do(ctx, func(ctx context.Context, w *release.Workspace) error {
		if len(options) > 1 {
			return release.Usage("Too many options", errors.New("a task takes one options struct; set the fields of one"))
		}
		return task(ctx, w, o)
	})
}

func (p Project) project() Project { return p }
