package plan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/plan"
)

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, diags := config.Load(config.Options{Dir: dir, LookupEnv: func(string) (string, bool) { return "", false }})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return c
}

const walkthrough = `
target "app" {
  sources   = ["docker.io/acme/app:1-amd64", "mirror.example/app:1-armv6"]
  tags      = ["docker.io/acme/app:1"]
  platforms = ["linux/amd64", "linux/arm/v6"]
  annotations = ["index:title=app"]
  platform "linux/arm/v6" {
    source      = "mirror.example/app:1-armv6"
    repair      = true
    os_version  = ""
    os_features = []
  }
}
target "own" {
  tags = ["docker.io/acme/own:1"]
  platforms = ["linux/amd64", "linux/arm64"]
  platform "linux/arm64" {
    variant = "v8"
  }
  platform "linux/amd64" {
    optional = true
  }
}
`

func TestSourcesAreNotBuilt(t *testing.T) {
	t.Parallel()
	p, diags := plan.New(load(t, walkthrough), plan.Options{Targets: []string{"*"}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if diags := p.CheckPublish(); diags.HasErrors() {
		t.Error(diags)
	}
	app, own := p.Targets[0], p.Targets[1]
	if len(app.Builds) != 0 || len(app.Sources) != 2 || len(app.Platforms) != 2 || app.Partial {
		t.Errorf("%+v", app)
	}
	if diff := cmp.Diff([]string{"docker.io", "mirror.example"}, p.Hosts()); diff != "" {
		t.Error(diff)
	}
	want := []plan.Fields{{Platform: app.Platforms[1], Source: "mirror.example/app:1-armv6", Clear: []string{"os_version", "os_features"}, Repair: true}}
	if diff := cmp.Diff(want, app.Fields()); diff != "" {
		t.Error(diff)
	}
	want = []plan.Fields{{Platform: own.Builds[1].Platform, Variant: "v8"}}
	if diff := cmp.Diff(want, own.Fields()); diff != "" {
		t.Error(diff)
	}
}

func TestSourcesNarrowed(t *testing.T) {
	t.Parallel()
	p, diags := plan.New(load(t, walkthrough), plan.Options{Targets: []string{"app"}, Platforms: []string{"linux/amd64"}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	app := p.Targets[0]
	if len(app.Platforms) != 1 || !app.Partial {
		t.Errorf("%+v", app)
	}
	if f := app.Fields(); len(f) != 1 || f[0].Source == "" || !f[0].Optional {
		t.Errorf("the claim of a source was lost, which would then be for another platform: %+v", f)
	}
	open := strings.Replace(walkthrough, `platforms = ["linux/amd64", "linux/arm/v6"]`, "", 1)
	p, diags = plan.New(load(t, open), plan.Options{Targets: []string{"app"}, Platforms: []string{"linux/arm64"}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if app := p.Targets[0]; len(app.Platforms) != 1 || !app.Partial {
		t.Errorf("%+v", app)
	}
	if _, diags = plan.New(load(t, walkthrough), plan.Options{Targets: []string{"app"}, Platforms: []string{"linux/s390x"}}); !diags.HasErrors() {
		t.Error("a platform that nothing has was accepted")
	}
}

func TestSourcesRefuse(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, says string }{
		{"an annotation of the images", strings.Replace(walkthrough, "index:title", "title", 1), "index:title=app"},
		{"a block for another platform", strings.Replace(walkthrough, `"linux/arm/v6" {`, `"linux/arm/v7" {`, 1), "without its platform"},
		{"a base", walkthrough + `
target "above" {
  tags     = ["docker.io/acme/above:1"]
  contexts = { base = "target:app" }
}`, "docker-image://"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, diags := plan.New(load(t, tt.text), plan.Options{Targets: []string{"*"}})
			if !diags.HasErrors() || !strings.Contains(diags.Error(), tt.says) {
				t.Errorf("diagnostics %v, want %q", diags, tt.says)
			}
		})
	}
}
