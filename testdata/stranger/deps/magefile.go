//go:build mage

// Another repository's magefile, whose own tasks run archmage's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/magefile/mage/mg"

	// mage:import
	_ "github.com/archmage-build/archmage/tasks"
	// mage:import oci
	_ "github.com/archmage-build/archmage/tasks"

	archmage "github.com/archmage-build/archmage/tasks/api"
)

var Aliases = map[string]any{"s": Ship}

// Ship needs the release in every way there is.
func Ship(ctx context.Context) {
	mg.CtxDeps(ctx, archmage.Release, check)
	mg.Deps(archmage.Release)
	mg.SerialDeps(mg.F(archmage.Release))
	fmt.Println("shipped")
}

func check() { mg.Deps(archmage.Release) }

type Img mg.Namespace

// Publish is a task of a namespace.
func (Img) Publish() {
	mg.Deps(archmage.With(archmage.Release, archmage.ReleaseOptions{Targets: []string{"app"}}))
}

// Job is released from its own directory.
func Job(ctx context.Context) {
	mg.SerialCtxDeps(ctx,
		archmage.With(archmage.Plan, archmage.PlanOptions{Project: archmage.Project{Dir: "services/job"}}),
		archmage.With(archmage.Release, archmage.ReleaseOptions{Project: archmage.Project{Dir: "services/job"}}))
}

var errDenied = errors.New("denied with " + os.Getenv("DENY_TOKEN"))

var gate = archmage.ReleaseOptions{
	Project: archmage.Project{Set: []string{"app.tags=" + os.Getenv("REPO") + ":gate"}, Hooks: []archmage.Hook{
		archmage.Before("promote", scan), archmage.After("promote", kustomize),
	}},
}

// Gate releases what a scanner and an approval let pass.
func Gate(ctx context.Context) error {
	err := archmage.Release(ctx, gate)
	if err != nil {
		fmt.Println("the cause is errDenied:", errors.Is(err, errDenied))
	}
	return err
}

// GateAsDependency ends with the same code.
func GateAsDependency() { mg.Deps(archmage.With(archmage.Release, gate)) }

func scan(_ context.Context, d *archmage.Draft) error {
	for _, t := range d.Targets {
		for _, p := range t.Platforms {
			fmt.Fprintf(d.Out, "scanned %s@%s for %s\n", p.Repository, p.Digest, p.Platform)
		}
	}
	if os.Getenv("DENY") != "" {
		return errDenied
	}
	for _, t := range d.Targets {
		fmt.Fprintln(d.Out, "approved", t.Tags[0])
	}
	return nil
}

func kustomize(_ context.Context, d *archmage.Draft) error {
	text := "images:\n"
	for _, t := range d.Targets {
		text += fmt.Sprintf("  - name: %s\n    digest: %s\n", t.Name, t.Index)
	}
	return os.WriteFile("kustomization.yaml", []byte(text), 0o644)
}

// Twice, Nowhere and Misspelt are mistakes.
func Twice(ctx context.Context) error {
	return archmage.Plan(ctx, archmage.PlanOptions{}, archmage.PlanOptions{})
}

func Nowhere(ctx context.Context) error {
	return archmage.Plan(ctx, archmage.PlanOptions{Project: archmage.Project{Dir: "nowhere"}})
}

func Misspelt(ctx context.Context) error {
	return archmage.Release(ctx, archmage.ReleaseOptions{Project: archmage.Project{Hooks: []archmage.Hook{archmage.Before("promot", scan)}}})
}
