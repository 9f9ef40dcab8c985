package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSources(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, `
target "app" {
  sources = ["docker.io/acme/app:1-amd64", "docker.io/acme/app:1-armv6", "docker.io/acme/app:1-amd64"]
  tags    = ["docker.io/acme/app:1"]
  platform "linux/arm/v6" {
    source = "docker.io/acme/app:1-armv6"
    repair = true
  }
  platform "linux/arm64" {
    variant     = null
    os_version  = ""
    os_features = null
  }
}
release {
  sign { key = "cosign.key" }
}
`)
	app, err := c.Resolve("app")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"docker.io/acme/app:1-amd64", "docker.io/acme/app:1-armv6"}, app.Sources); diff != "" {
		t.Error(diff)
	}
	if specs := app.PlatformSpecs(); len(specs) != 0 {
		t.Errorf("a target with sources has the platforms %v, not those of its sources", specs)
	}
	v6, arm64 := app.Overrides[0], app.Overrides[1]
	if *v6.Source != app.Sources[1] || !*v6.Repair || v6.Variant != nil || v6.OSFeatures != nil {
		t.Errorf("%+v", v6)
	}
	if arm64.Variant == nil || *arm64.Variant != "" || arm64.OSVersion == nil || *arm64.OSVersion != "" || arm64.OSFeatures == nil {
		t.Errorf("null and \"\" do not clear: %+v", arm64)
	}
	if arm64.OS != nil || arm64.Architecture != nil || arm64.Repair != nil {
		t.Errorf("what was left out is set: %+v", arm64)
	}
	if c.Release.Sign == nil || c.Release.Sign.Key != "cosign.key" || c.Release.Sign.PasswordEnv != "COSIGN_PASSWORD" {
		t.Errorf("sign is %+v", c.Release.Sign)
	}
}
