package plan

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/archmage-build/archmage/internal/config"
)

const (
	amd64 = "linux/amd64"
	v6    = "linux/arm/v6"
)

// A device as it may be declared: what it may run, if that is declared, and
// whether it is a worker, which runs no http check.
type machine struct {
	text     string
	runs     []string // nil: anything
	isWorker bool
}

var machines = map[string]machine{
	"amd64":        {"{\n host = \"a.lan\"\n platform = \"linux/amd64\"\n}", []string{amd64}, false},
	"v6":           {"{\n host = \"b.lan\"\n platform = \"linux/arm/v6\"\n}", []string{v6}, false},
	"asked":        {`{ host = "c.lan" }`, nil, false},
	"optional":     {"{\n host = \"d.lan\"\n platform = \"linux/arm/v6\"\n optional = true\n}", []string{v6}, false},
	"worker-amd64": {`{ worker = "one" }`, []string{amd64}, true},
	"worker-asked": {`{ worker = "two" }`, nil, true},
	"worker-v6":    {"{\n worker = \"two\"\n platform = \"linux/arm/v6\"\n}", []string{v6}, true},
}

func (m machine) can(platform string, http bool) bool {
	return (m.runs == nil || slices.Contains(m.runs, platform)) && !(m.isWorker && http)
}

// cases are the smoke blocks of a target: for each, whether it checks http.
var cases = map[string][]bool{"none": nil, "plain": {false}, "http": {true}, "both": {false, true}}

func blocks(name string) string {
	var b strings.Builder
	for i, http := range cases[name] {
		check := ""
		if http {
			check = "http { port = 80 }"
		}
		fmt.Fprintf(&b, "  smoke {\n    name = \"case%d\"\n    %s\n  }\n", i, check)
	}
	return b.String()
}

// TestDemands plans every combination of smoke blocks of two targets, devices,
// required platforms and prove, and compares the verdict with what the rule
// says in a line each.
func TestDemands(t *testing.T) {
	t.Parallel()
	devices := [][]string{nil, {"amd64"}, {"v6"}, {"asked"}, {"optional"}, {"worker-amd64"}, {"worker-asked"}, {"worker-v6"}, {"amd64", "v6"}, {"worker-amd64", "v6"}, {"worker-v6", "optional"}}
	// Without prove it is enough to know that every demand is refused.
	demands := []struct {
		require []string
		prove   bool
	}{{nil, true}, {[]string{amd64}, true}, {[]string{v6}, true}, {[]string{amd64, v6}, true}, {[]string{v6}, false}, {nil, false}}
	dir := t.TempDir()
	file := filepath.Join(dir, "targets.hcl")
	planned, refused, warned := 0, 0, 0
	for _, have := range devices {
		for _, demand := range demands {
			require, prove := demand.require, demand.prove
			for app := range cases {
				for _, tool := range []string{"none", "http"} {
					text := `
worker "one" {
  address   = "unix:///one"
  platforms = ["linux/amd64"]
}
worker "two" { address = "unix:///two" }
group "default" { targets = ["app", "tool"] }
target "base" {
  dockerfile-inline = "FROM scratch"
  platforms         = ["linux/arm/v6", "linux/amd64"]
}
target "app" {
  contexts  = { base = "target:base" }
  platforms = ["linux/amd64", "linux/arm/v6"]
  tags      = ["r.example/app:1"]
` + blocks(app) + `}
target "tool" {
  platforms = ["linux/arm/v6"]
  tags      = ["r.example/tool:1"]
` + blocks(tool) + "}\n"
					for _, name := range have {
						text += fmt.Sprintf("device %q %s\n", name, machines[name].text)
					}
					text += fmt.Sprintf("release {\n  prove = %t\n  require_devices = [%s]\n}\n", prove, quoted(require))
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
					c, diags := config.Load(config.Options{Dir: dir})
					if diags.HasErrors() {
						t.Fatal(diags)
					}
					p, diags := New(c, Options{})
					planned++

					wantRefused := false
					wantWarnings := 0
					used := map[string]bool{}
					for target, platforms := range map[string][]string{app + " app": {amd64, v6}, tool + " tool": {v6}} {
						smokes := cases[strings.Fields(target)[0]]
						for _, platform := range platforms {
							demanded := slices.Contains(require, platform)
							wantRefused = wantRefused || demanded && (!prove || len(smokes) == 0)
							for _, http := range smokes {
								able := slices.ContainsFunc(have, func(d string) bool { return machines[d].can(platform, http) })
								wantRefused = wantRefused || demanded && !able
							}
						}
						for _, http := range smokes {
							served := false
							for _, platform := range platforms {
								for _, d := range have {
									if machines[d].can(platform, http) {
										served, used[d] = true, true
									}
								}
							}
							if !served {
								wantWarnings++
							}
						}
					}
					wantWarnings += len(have) - len(used)

					if diags.HasErrors() != wantRefused {
						t.Fatalf("refused: %t, want %t: %v\n%s", !wantRefused, wantRefused, diags, text)
					}
					if len(p.Warnings) != wantWarnings {
						t.Fatalf("%d warnings, want %d: %v\n%s", len(p.Warnings), wantWarnings, p.Warnings, text)
					}
					for _, d := range slices.Concat(diags, p.Warnings) {
						if d.Subject == nil || d.Subject.Filename == "" || d.Subject.Start.Line < 2 {
							t.Fatalf("it says not where: %v\n%s", d, text)
						}
						if !strings.Contains(d.Detail, "such as") && !strings.Contains(d.Detail, "Add") && !strings.Contains(d.Detail, "emove") {
							t.Fatalf("it names no fix: %v", d)
						}
					}
					if diags.HasErrors() {
						refused++
					}
					warned += len(p.Warnings)
				}
			}
		}
	}
	t.Logf("%d plans: %d refused, %d warnings", planned, refused, warned)
}

func quoted(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}

// What is not published, not selected, or not known yet demands nothing.
func TestDemandsOfOthers(t *testing.T) {
	t.Parallel()
	const text = `
device "d" { host = "d.lan" }
release { require_devices = ["linux/arm/v6"] }
target "base" {
  dockerfile-inline = "FROM scratch"
  platforms         = ["linux/arm/v6"]
}
target "app" {
  contexts  = { base = "target:base" }
  platforms = ["linux/arm/v6"]
  tags      = ["r.example/app:1"]
  smoke {}
}
`
	const other = `
target "other" {
  platforms = ["linux/arm/v6"]
  tags      = ["r.example/o:1"]
}
`
	for name, tt := range map[string]struct {
		text    string
		options Options
		says    string
	}{
		"a base without tags":     {text, Options{Targets: []string{"app"}}, ""},
		"selected, without tags":  {text, Options{Targets: []string{"base"}}, ""},
		"not selected":            {text + other, Options{Targets: []string{"app"}}, ""},
		"selected":                {text + other, Options{Targets: []string{"app", "other"}}, "without a smoke block"},
		"another platform only":   {"target \"o\" {\n platforms = [\"linux/arm/v6\", \"linux/amd64\"]\n tags = [\"r.example/o:1\"]\n}\nrelease { require_devices = [\"linux/arm/v6\"] }\n", Options{Targets: []string{"o"}, Platforms: []string{"linux/amd64"}}, ""},
		"the platform":            {"target \"o\" {\n platforms = [\"linux/arm/v6\", \"linux/amd64\"]\n tags = [\"r.example/o:1\"]\n}\nrelease { require_devices = [\"linux/arm/v6\"] }\n", Options{Targets: []string{"o"}}, "without a smoke block"},
		"sources of any platform": {"target \"o\" {\n sources = [\"r.example/x:1\"]\n tags = [\"r.example/o:1\"]\n}\nrelease { require_devices = [\"linux/arm/v6\"] }\n", Options{Targets: []string{"o"}}, ""},
		"sources for it":          {"target \"o\" {\n sources = [\"r.example/x:1\"]\n platforms = [\"linux/arm/v6\"]\n tags = [\"r.example/o:1\"]\n}\nrelease { require_devices = [\"linux/arm/v6\"] }\n", Options{Targets: []string{"o"}}, "without a smoke block"},
	} {
		_, wrong := planned(t, tt.text, tt.options)
		if tt.says == "" && strings.Contains(wrong, "equired") || tt.says != "" && !strings.Contains(wrong, tt.says) {
			t.Errorf("%s: %q, want %q", name, wrong, tt.says)
		}
	}
}

// Warnings do not stop a plan.
func TestWarningsAreNoErrors(t *testing.T) {
	t.Parallel()
	p, wrong := planned(t, "target \"o\" {\n tags = [\"r.example/o:1\"]\n smoke {}\n}\n", Options{Targets: []string{"o"}})
	if wrong != "" || len(p.Warnings) != 1 || p.Warnings[0].Severity != hcl.DiagWarning || !strings.Contains(p.Warnings[0].Detail, "there is no device") {
		t.Errorf("%q, %v", wrong, p.Warnings)
	}
}
