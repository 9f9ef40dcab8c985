package api_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/magefile/mage/mg"

	"github.com/archmage-build/archmage/tasks/api"
)

// TestWith tells tasks apart by their options, so that mage runs each once.
func TestWith(t *testing.T) {
	t.Parallel()
	a := api.With(api.Plan, api.PlanOptions{Targets: []string{"a"}})
	hooked := api.PlanOptions{Project: api.Project{Hooks: []api.Hook{api.Before("build", nil)}}}
	for _, tt := range []struct {
		name string
		fn   mg.Fn
		same bool
	}{
		{"the same", api.With(api.Plan, api.PlanOptions{Targets: []string{"a"}}), true},
		{"other targets", api.With(api.Plan, api.PlanOptions{Targets: []string{"b"}}), false},
		{"another directory", api.With(api.Plan, api.PlanOptions{Targets: []string{"a"}, Project: api.Project{Dir: "x"}}), false},
		{"another task", api.With(api.Build, api.BuildOptions{Targets: []string{"a"}}), false},
	} {
		if same := tt.fn.Name() == a.Name() && tt.fn.ID() == a.ID(); same != tt.same {
			t.Errorf("%s: the same dependency is %t", tt.name, same)
		}
	}
	if first, second := api.With(api.Plan, hooked), api.With(api.Plan, hooked); first.ID() == second.ID() {
		t.Error("functions cannot be compared, and tasks with them were taken for the same")
	}
}

// TestDependency: every function of the API is a dependency as it is.
func TestDependency(t *testing.T) {
	t.Parallel()
	for name, task := range map[string]any{
		"Release": api.Release, "Plan": api.Plan, "Build": api.Build, "Assemble": api.Assemble, "Annotate": api.Annotate,
		"Inspect": api.Inspect, "Push": api.Push, "Wipe": api.Wipe, "Smoke": api.Smoke, "Rollback": api.Rollback,
		"Releases": api.Releases, "Reproduce": api.Reproduce, "Workers": api.Workers, "Devices": api.Devices,
		"Doctor": api.Doctor, "Up": api.Up, "Down": api.Down, "Explain": api.Explain, "Init": api.Init,
	} {
		if fn := mg.F(task); !strings.HasSuffix(fn.Name(), "api."+name) {
			t.Errorf("%s is %s", name, fn.Name())
		}
		if !api.IsTask(name) {
			t.Errorf("%s is no task of mage's", name)
		}
		options := reflect.TypeOf(task).In(1).Elem()
		if _, ok := options.FieldByName("Dir"); !ok {
			t.Errorf("%s has no directory", options)
		}
	}
}

// TestElsewhere works in another directory, with other streams and variables.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Dockerfile", "FROM scratch\n")
	write("targets.hcl", `
variable "V" { default = "0" }
target "app" { tags = ["localhost:5999/app:${V}"] }
`)
	write("other.hcl", `target "other" { tags = ["localhost:5999/other:1"] }`)
	plan := func(p api.Project) (string, string, error) {
		var out, errs bytes.Buffer
		p.Dir, p.Stdout, p.Stderr = dir, &out, &errs
		err := api.Plan(context.Background(), api.PlanOptions{Project: p})
		return out.String(), errs.String(), err
	}
	if out, _, err := plan(api.Project{Env: []string{"V=7"}}); err != nil || !strings.Contains(out, "localhost:5999/app:7") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := plan(api.Project{Files: []string{"other.hcl"}}); err != nil || !strings.Contains(out, "localhost:5999/other:1") {
		t.Errorf("%v\n%s", err, out)
	}
	write("targets.hcl", `targt "app" {}`)
	_, said, err := plan(api.Project{})
	var failed *api.Error
	if !errors.As(err, &failed) || failed.ExitStatus() != api.ExitUsage || mg.ExitStatus(err) != api.ExitUsage {
		t.Errorf("the error is %v", err)
	}
	if !strings.Contains(said, `Did you mean "target"`) {
		t.Errorf("the diagnostics are not there:\n%s", said)
	}
	if names := api.Names(api.Project{Dir: dir}, api.TargetNames); names != nil {
		t.Errorf("a configuration that cannot be read has names: %v", names)
	}
}
