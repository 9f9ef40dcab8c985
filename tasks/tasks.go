// Package tasks holds the Mage tasks of archmage. Another repository imports
// them with a `mage:import` comment in its magefile; every task takes optional
// flags only, and values such as a version come from the environment.
package tasks

import (
	"context"
	"os"
	"strings"

	"github.com/archmage-build/archmage/internal/release"
	"github.com/archmage-build/archmage/internal/ui"
)

// run opens the workspace around this process, does the task and turns its
// error into an exit code.
func run(ctx context.Context, do func(context.Context, *release.Workspace) error) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	streams := ui.Capture(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	w, err := release.Open(".", streams, os.Environ())
	if err == nil {
		err = do(ctx, w)
	}
	return exit(ctx, streams, err)
}

// list takes "a,b" apart; nil and empty mean none.
func list(flag *string) []string {
	var out []string
	for _, s := range strings.Split(text(flag), ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func text(flag *string) string {
	if flag == nil {
		return ""
	}
	return *flag
}

func set(flag *bool) bool { return flag != nil && *flag }
