package api_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/magefile/mage/mg"

	"github.com/archmage-build/archmage/tasks/api"
)

// A scanner that has to pass each platform, by digest, before any tag moves.
func ExampleBefore() {
	scan := func(ctx context.Context, d *api.Draft) error {
		for _, t := range d.Targets {
			for _, p := range t.Platforms {
				cmd := exec.CommandContext(ctx, "trivy", "image", "--exit-code=1", p.Repository+"@"+p.Digest.String())
				cmd.Stdout, cmd.Stderr = d.Out, d.Out
				if err := cmd.Run(); err != nil {
					return fmt.Errorf("%s on %s: %w", t.Name, p.Platform, err)
				}
			}
		}
		return nil
	}
	release := func(ctx context.Context) error {
		return api.Release(ctx, api.ReleaseOptions{Project: api.Project{Hooks: []api.Hook{api.Before("promote", scan)}}})
	}
	_ = release
}

// The digests of a release, written where a deployment reads them.
func ExampleAfter() {
	kustomize := func(_ context.Context, d *api.Draft) error {
		var b strings.Builder
		b.WriteString("images:\n")
		for _, t := range d.Targets {
			name, _, _ := strings.Cut(t.Tags[0], ":")
			fmt.Fprintf(&b, "  - name: %s\n    digest: %s\n", name, t.Index)
		}
		return os.WriteFile("deploy/kustomization.yaml", []byte(b.String()), 0o644)
	}
	release := func(ctx context.Context) error {
		return api.Release(ctx, api.ReleaseOptions{Project: api.Project{Hooks: []api.Hook{api.After("verify", kustomize)}}})
	}
	_ = release
}

// An approval at the terminal, after the devices have run the images.
func ExampleHook() {
	approve := api.Hook{Point: "before-promote", Timeout: 0, Run: func(_ context.Context, d *api.Draft) error {
		fmt.Fprintf(d.Out, "release %s?", d.Release)
		var answer string
		if _, err := fmt.Scanln(&answer); err != nil || answer != "yes" {
			return errors.New("not approved")
		}
		return nil
	}}
	release := func(ctx context.Context) error {
		return api.Release(ctx, api.ReleaseOptions{Project: api.Project{Hooks: []api.Hook{approve}}})
	}
	_ = release
}

// A release as what another task needs.
func ExampleWith() {
	deploy := func(ctx context.Context) {
		mg.CtxDeps(ctx, api.Up)
		mg.CtxDeps(ctx, api.With(api.Release, api.ReleaseOptions{
			Project: api.Project{Dir: "services/app"},
			Targets: []string{"app"},
		}))
	}
	_ = deploy
}
