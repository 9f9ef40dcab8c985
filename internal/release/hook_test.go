package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/index"
)

// TestStepNames: what targets.hcl calls the steps is what they are called here.
func TestStepNames(t *testing.T) {
	t.Parallel()
	var names []string
	for _, s := range allSteps {
		names = append(names, s.name)
	}
	if got, want := strings.Join(config.Steps, " "), strings.Join(names, " "); got != want {
		t.Errorf("hooks have the steps %s, a release has %s", got, want)
	}
}

var errGate = errors.New("the gate is shut")

// TestHookStops lets a hook fail at each point, in each way: until the tags have
// moved none of them does, afterwards that is said, and the next release goes
// through.
func TestHookStops(t *testing.T) {
	t.Parallel()
	ways := map[string]struct {
		run  func(context.Context, *Draft) error
		says string
	}{
		"fails":  {func(context.Context, *Draft) error { return errGate }, "failed: the gate is shut"},
		"panics": {func(context.Context, *Draft) error { panic("oh") }, "failed: panic: oh"},
		"hangs": {func(ctx context.Context, _ *Draft) error { <-ctx.Done(); return ctx.Err() },
			"did not end within 20ms"},
		"ends late": {func(ctx context.Context, _ *Draft) error { <-ctx.Done(); return nil }, ""}, // it had passed
	}
	for _, s := range []string{"upload", "prove", "sign", "promote", "verify"} {
		for _, when := range []string{"before-", "after-"} {
			point := when + s
			moved := point == "after-promote" || s == "verify"
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				for name, way := range ways {
					c := w.clone()
					must(t, c.release("1", name+"old", true, 0, false, nil))
					before := w.tags()
					c.hooks = []Hook{{Point: point, Timeout: 20 * time.Millisecond, Run: way.run}}
					e := c.release("1", name+"new", false, 0, false, nil)
					var failed *HookError
					switch {
					case way.says == "":
						must(t, e)
						continue
					case !errors.As(e.err, &failed) || failed.Point != point || failed.Moved != moved || !strings.Contains(e.err.Error(), way.says):
						t.Fatalf("%s: %v", name, e.err)
					case errors.Is(e.err, errGate) != (name == "fails"):
						t.Errorf("%s: the hook's own error is lost: %v", name, e.err)
					case strings.Contains(e.err.Error(), "no tag has moved") == moved:
						t.Errorf("%s: %v", name, e.err)
					case maps.Equal(w.tags(), before) == moved:
						t.Errorf("%s: the tags have moved: %t, want %t", name, !moved, moved)
					}
					c.hooks = nil
					must(t, c.release("1", name+"new", false, 0, false, nil))
				}
			})
		}
	}
}

// TestHookChanges lets a hook change what shall be released, in every way that
// files can be changed: it is found out, and no tag moves.
func TestHookChanges(t *testing.T) {
	t.Parallel()
	blobs := func(layout string, change func(path string) error) error {
		return filepath.WalkDir(filepath.Join(layout, "blobs"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return change(path)
		})
	}
	changes := map[string]func(layout string) error{
		"removes the layout": os.RemoveAll,
		"empties its list": func(layout string) error {
			return os.WriteFile(filepath.Join(layout, "index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`), 0o600)
		},
		"breaks its list": func(layout string) error {
			return os.WriteFile(filepath.Join(layout, "index.json"), []byte(`{`), 0o600)
		},
		"annotates the draft": func(layout string) error {
			_, err := index.Annotate(layout, "app", []index.Annotation{{Level: "index", Key: "a", Value: "b"}}, nil)
			return err
		},
		"writes other bytes": func(layout string) error {
			return blobs(layout, func(path string) error {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				return os.WriteFile(path, bytes.Replace(data, []byte("amd64"), []byte("s390x"), 1), 0o600)
			})
		},
		"removes the bytes": func(layout string) error { return blobs(layout, os.Remove) },
	}
	for name, change := range changes {
		for _, point := range []string{"before-upload", "after-upload", "before-prove", "after-sign", "before-promote"} {
			t.Run(name+" "+point, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				c := w.clone()
				must(t, c.release("1", "old", false, 0, false, nil))
				before := w.tags()
				c.hooks = []Hook{{Point: point, Run: func(_ context.Context, d *Draft) error { return change(d.Layout) }}}
				e := c.release("1", "new", false, 0, false, nil)
				if e.err == nil || !strings.Contains(e.err.Error(), "changed what shall be released") || !maps.Equal(w.tags(), before) {
					t.Errorf("%v", e.err)
				}
			})
		}
	}
}

// TestHookMovesTag: a hook that moves a tag itself is a conflict, as anybody else
// would be.
func TestHookMovesTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	c.hooks = []Hook{{Point: "before-promote", Run: func(context.Context, *Draft) error { w.foreign("1", 7); return nil }}}
	e := c.release("1", "new", false, 0, false, nil)
	var conflict *index.ConflictError
	if !errors.As(e.err, &conflict) {
		t.Errorf("%v", e.err)
	}
}

// TestHookOrder: several hooks of one point run in their order, each with the
// digests that are known by then, and one that fails ends it.
func TestHookOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	var ran []string
	note := func(point, name string, err error) Hook {
		return Hook{Point: point, Run: func(_ context.Context, d *Draft) error {
			if d.Hook != point || len(d.Targets) != 1 || d.Targets[0].Index == "" || len(d.Targets[0].Platforms) != 2 || d.Release == "" || len(d.Targets[0].Tags) == 0 {
				t.Errorf("%s: %+v", name, d)
			}
			fmt.Fprint(d.Out, name+" without an end of line")
			ran = append(ran, name)
			return err
		}}
	}
	c.hooks = []Hook{
		note("before-promote", "3", nil), note("after-upload", "1", nil), note("after-upload", "2", nil),
		note("before-promote", "4", errGate), note("before-promote", "not reached", nil), note("after-verify", "nor this", nil),
	}
	e := c.release("1", "new", false, 0, false, nil)
	if got := strings.Join(ran, " "); got != "1 2 3 4" || !errors.Is(e.err, errGate) {
		t.Errorf("ran %s: %v", got, e.err)
	}
	for _, line := range []string{"after-upload: 1 without", "hook after-upload passed", "before-promote: 4 without"} {
		if !strings.Contains(e.said, line) {
			t.Errorf("there is no %q in\n%s", line, e.said)
		}
	}
}
