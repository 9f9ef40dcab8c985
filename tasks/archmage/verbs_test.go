package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/magefile/mage/parse"

	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/tasks/api"
)

// TestVerbs: every task of mage's is a command, with the same flags, and the
// other way round.
func TestVerbs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			names = append(names, filepath.Base(f))
		}
	}
	tasks, err := parse.Package("..", names, false)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{project: api.Project{Command: "archmage"}}
	root := a.root()
	seen := map[string]bool{}
	for _, task := range tasks.Funcs {
		name := strings.ToLower(task.Name)
		seen[name] = true
		if !api.IsTask(name) {
			t.Errorf("IsTask does not know %s", name)
		}
		c, _, err := root.Find([]string{name})
		if err != nil || c == root {
			t.Errorf("mage has the task %s, and there is no such command", name)
			continue
		}
		if api.HasFlags(name) != task.HasOptionalArgs() {
			t.Errorf("HasFlags of %s is wrong", name)
		}
		for _, arg := range task.Args {
			flag := strings.TrimPrefix(ui.Dashed(arg.Name), "--")
			if arg.Optional && c.Flags().Lookup(flag) == nil && c.InheritedFlags().Lookup(flag) == nil {
				t.Errorf("mage's %s has the flag -%s, and the command has no --%s", name, arg.Name, flag)
			}
		}
	}
	for _, c := range a.verbs() {
		if !seen[c.Name()] {
			t.Errorf("there is a command %s, and mage has no such task", c.Name())
		}
		if c.ValidArgsFunction == nil {
			t.Errorf("%s completes to file names", c.Name())
		}
	}
}
