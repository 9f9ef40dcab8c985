package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestAudit reads audit blocks of two files, of a target and of one that
// inherits from it.
func TestAudit(t *testing.T) {
	t.Parallel()
	c, diags := load(t, map[string]string{
		"targets.hcl": `
variable "FIRMWARE" { default = "/usr/lib/firmware/**" }
audit {
  ignore   = ["created-skew"]
  severity = { size-divergence = "error", setuid = "warning" }
  allow    = [FIRMWARE]
}
target "base" {
  audit { ignore = ["setuid"] }
}
target "app" {
  inherits = ["base"]
  tags     = ["registry.example/app:1"]
  audit {
    severity = { secret = "error" }
    allow    = ["/opt/sdk/**"]
  }
}
target "plain" {}
`,
		"targets.override.hcl": `
audit { severity = { setuid = "error" } }
`,
	}, nil)
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	noBody := cmpopts.IgnoreFields(Audit{}, "Body")
	want := &Audit{
		Ignore: []string{"created-skew"}, Allow: []string{"/usr/lib/firmware/**"},
		Severity: map[string]string{"size-divergence": "error", "setuid": "error"},
	}
	if d := cmp.Diff(want, c.Audit, noBody); d != "" {
		t.Errorf("the audit of all targets (-want +got):\n%s", d)
	}
	app, err := c.Resolve("app")
	if err != nil {
		t.Fatal(err)
	}
	want = &Audit{Ignore: []string{"setuid"}, Severity: map[string]string{"secret": "error"}, Allow: []string{"/opt/sdk/**"}}
	if d := cmp.Diff(want, app.Audit, noBody); d != "" {
		t.Errorf("the audit of app (-want +got):\n%s", d)
	}
	plain, err := c.Resolve("plain")
	if err != nil || plain.Audit != nil {
		t.Errorf("plain has the audit %+v, %v", plain.Audit, err)
	}
	if all := c.Audit.Merge(app.Audit); len(all.Ignore) != 2 || len(all.Allow) != 2 || all.Severity["secret"] != "error" || all.Severity["setuid"] != "error" {
		t.Errorf("together: %+v", all)
	}
	if c.Audit.Merge(nil) != c.Audit || (*Audit)(nil).Merge(nil) != nil {
		t.Error("nothing merged is not what there was")
	}
}
