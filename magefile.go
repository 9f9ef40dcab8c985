//go:build mage

// Archmage turns targets.hcl into a proven multi-arch container release.
//
// Start with `go tool mage release`: it needs nothing but Go. Flags of a task:
// `go tool mage -h release`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/archmage-build/archmage/internal/devtools"

	// mage:import
	_ "github.com/archmage-build/archmage/tasks"
)

// Test installs what the tests need, then runs them all with the race detector.
func Test(ctx context.Context) error {
	if err := devtools.Setup(ctx); err != nil {
		return err
	}
	return devtools.Test(ctx)
}

// Bench measures what is promised, side by side with docker buildx where it does the same; it takes minutes.
func Bench(ctx context.Context) error { return devtools.Bench(ctx) }

// Soak runs at full size what tests do in small: crashes, faults, many devices.
func Soak(ctx context.Context) error { return devtools.Soak(ctx) }

// Lint checks the code by the rules of .golangci.yml; compiling the linter takes minutes once.
func Lint(ctx context.Context) error {
	return command(ctx, "go", "tool", "-modfile=.lint/go.mod", "golangci-lint", "run")
}

// Compile makes bin/archmage, which starts in milliseconds and needs no magefile.
func Compile(ctx context.Context) error {
	return command(ctx, "go", "tool", "mage", "-compile", "bin/archmage")
}

// Reference writes docs/targets.md, docs/tasks.md and docs/targets.schema.json from the source.
func Reference() error { return devtools.Reference(".") }

func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", name, err)
	}
	return nil
}
