package plan

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/archmage-build/archmage/internal/config"
)

// planned loads a targets.hcl and plans it; what is wrong comes back as text.
func planned(t *testing.T, text string, o Options) (*Plan, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, diags := config.Load(config.Options{Dir: dir})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	p, diags := New(c, o)
	var wrong []string
	for _, d := range diags {
		wrong = append(wrong, d.Summary+": "+d.Detail)
	}
	return p, strings.Join(wrong, "\n")
}

const family = `
group "default" { targets = ["app", "tool"] }
target "base" { dockerfile-inline = "FROM scratch" }
target "middle" {
  contexts  = { base = "target:base" }
  platforms = ["linux/arm64", "linux/amd64"]
}
target "app" {
  contexts  = { middle = "target:middle", base = "target:base" }
  platforms = ["linux/arm64", "linux/arm64/v8", "linux/amd64"]
  tags      = ["r.example/app", "s.example/app:1"]
  args      = { A = "1", B = "2" }
  platform "linux/arm64/v8" {
    args       = { A = "arm", B = null }
    dockerfile = "Dockerfile.arm"
    optional   = true
  }
}
target "tool" {
  platforms = ["linux/arm/v6"]
  tags      = ["r.example/tool:1"]
}
`

func TestOrderAndNeeds(t *testing.T) {
	t.Parallel()
	p, wrong := planned(t, family, Options{})
	if wrong != "" {
		t.Fatal(wrong)
	}
	var got []string
	for _, b := range p.Builds() {
		got = append(got, b.ID())
	}
	// A base without platforms has those of the targets built on it; the same
	// platform by two names is one.
	want := "base linux/arm64,base linux/amd64,middle linux/arm64,middle linux/amd64,app linux/arm64,app linux/amd64,tool linux/arm/v6"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("the builds are\n%s, want\n%s", s, want)
	}
	app := p.Targets[2].Builds[0]
	if n := app.Needs["middle"]; n.ID() != "middle linux/arm64" || n.Needs["base"].ID() != "base linux/arm64" {
		t.Errorf("needs: %v", app.Needs)
	}
	// A target without tags is pushed where the one built on it goes.
	if r := p.Targets[0].Builds[0].Repository; r != "r.example/app" || !p.Targets[0].Linked {
		t.Errorf("base goes to %q", r)
	}
	if a := app.Spec.Args; *a["A"] != "arm" || a["B"] != nil || *app.Spec.Dockerfile != "Dockerfile.arm" || !app.Optional {
		t.Errorf("the platform block is not laid over: %v", a)
	}
	if other := p.Targets[2].Builds[1]; *other.Spec.Args["A"] != "1" || *other.Spec.Dockerfile != "Dockerfile" {
		t.Error("the platform block changed another platform")
	}
	if tags := fmt.Sprint(p.Targets[2].Tags); tags != "[r.example/app:latest s.example/app:1]" {
		t.Errorf("tags: %s", tags)
	}
	if h := fmt.Sprint(p.Hosts()); h != "[r.example s.example]" {
		t.Errorf("hosts: %s", h)
	}
	if len(p.Published()) != 2 {
		t.Errorf("%d targets are published", len(p.Published()))
	}
}

func TestNarrow(t *testing.T) {
	t.Parallel()
	p, wrong := planned(t, family, Options{Targets: []string{"app"}, Platforms: []string{"linux/amd64"}})
	if wrong != "" {
		t.Fatal(wrong)
	}
	var got []string
	for _, b := range p.Builds() {
		got = append(got, b.ID())
	}
	if s := strings.Join(got, ","); s != "base linux/amd64,middle linux/amd64,app linux/amd64" {
		t.Errorf("the builds are %s", s)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		o    Options
		want string
	}{
		"circle": {
			`target "a" { contexts = { b = "target:b" } }
target "b" { contexts = { c = "target:c" } }
target "c" { contexts = { a = "target:a" } }`, Options{}, "in a circle: a → b → c → a",
		},
		"unknown base": {`target "a" { contexts = { b = "target:bb" } }`, Options{}, `name target "bb", which is not there`},
		"base without the platform": {
			`target "a" {
  contexts  = { b = "target:b" }
  platforms = ["linux/arm64"]
  tags      = ["r.example/a"]
}
target "b" { platforms = ["linux/amd64", "linux/arm/v7"] }`, Options{}, "for linux/arm64, which is built only for linux/amd64, linux/arm/v7",
		},
		"one tag twice": {`target "a" { tags = ["x"] }
target "b" { tags = ["docker.io/library/x:latest"] }`, Options{}, "has the tag docker.io/library/x:latest of target"},
		"platform block alone": {`target "a" {
  platforms = ["linux/amd64"]
  platform "linux/arm64" { args = {} }
}`, Options{}, "is not built for linux/arm64"},
		"no worker": {`target "a" { platforms = ["linux/s390x"] }
worker "rack" {
  address   = "ssh://rack"
  platforms = ["linux/arm64"]
}`, Options{}, "No worker may build linux/s390x for target \"a\". Workers: rack (linux/arm64)"},
		"emulation forbidden": {`target "a" { platforms = ["linux/s390x"] }
worker "rack" {
  address   = "ssh://rack"
  platforms = ["linux/arm64"]
  emulates  = ["linux/s390x"]
}
release { emulation = "forbid" }`, Options{}, "No worker may build linux/s390x"},
		"output":        {`target "a" { output = ["type=lokal,dest=out"] }`, Options{}, "output type=lokal. There are: image"},
		"output option": {`target "a" { output = ["type=image,annotation.x=y"] }`, Options{}, `output option "annotation.x"`},
		"one docker file of several platforms": {`target "a" {
  platforms = ["linux/amd64", "linux/arm64"]
  output    = ["type=docker,dest=a.tar"]
}`, Options{}, "Write type=oci"},
		"standard output": {`target "a" { output = ["type=tar"] }`, Options{}, "to standard output"},
		"two targets to one directory": {`target "a" { output = ["out"] }
target "b" { output = ["./out/"] }`, Options{}, `and so does target "a"; one would overwrite files of the other`},
		"one target twice to one file": {`target "a" { output = ["type=oci,dest=x", "type=docker,dest=x"] }`, Options{}, "writes two outputs to x"},
		"removes another's files": {`target "a" { output = ["type=local,dest=out,mode=delete"] }
target "b" { output = ["out/b"] }`, Options{}, "removes what it did not write"},
		"a mode":                 {`target "a" { output = ["type=local,dest=out,mode=wipe"] }`, Options{}, `mode "wipe" is neither copy nor delete`},
		"an output without dest": {`target "a" { output = ["type=local"] }`, Options{}, "needs the directory"},
		"an empty group": {`group "default" { targets = [] }
target "a" {}`, Options{Targets: []string{"default"}}, `Nothing to build: The group "default" names no target`},
		"an empty matrix": {`target "a" {
  name   = "a-${v}"
  matrix = { v = [] }
}
target "b" {}
group "default" { targets = ["a"] }`, Options{Targets: []string{"default"}}, `Group "default" names "a", which is not there`},
		"a group in itself": {`group "g" { targets = ["g"] }
target "b" {}`, Options{Targets: []string{"g"}}, `Group "g" comes to itself through "g"`},
		"nothing asked for": {`target "a" {}
target "b" {}`, Options{Targets: []string{}}, `no group or target "default"`},
		"policy": {`target "a" { policy = ["filename=x.rego"] }`, Options{}, "source policy"},
		"call": {`target "a" {
  call     = "check"
  contexts = { b = "target:b" }
}
target "b" {}`, Options{Targets: []string{"a"}}, `call = "check" and builds on target "b"`},
		"unknown target":   {`target "app" {}`, Options{Targets: []string{"ap"}}, `did you mean "app"?`},
		"unknown platform": {`target "app" {}`, Options{Platforms: []string{"arm64"}}, `did you mean "linux/arm64"?`},
		"no such build":    {`target "app" { platforms = ["linux/amd64"] }`, Options{Platforms: []string{"linux/arm64"}}, "None of the targets is built for them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.o.Targets == nil {
				tc.o.Targets = []string{"*"}
			}
			if _, wrong := planned(t, tc.text, tc.o); !strings.Contains(wrong, tc.want) {
				t.Errorf("it says %q, want %q", wrong, tc.want)
			}
		})
	}
}

func TestCheckPublish(t *testing.T) {
	t.Parallel()
	p, wrong := planned(t, `target "Base" {}`, Options{})
	if wrong != "" {
		t.Fatal(wrong)
	}
	diags := p.CheckPublish()
	if len(diags) != 1 || !strings.Contains(diags[0].Detail, `tags = ["registry.example/base:1"]`) {
		t.Error(diags)
	}
}

// BenchmarkNew plans 1,000 targets for 8 platforms each.
func BenchmarkNew(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "target \"t%d\" {\n  platforms = [\"linux/amd64\", \"linux/arm64\", \"linux/arm/v7\", \"linux/arm/v6\", \"linux/386\", \"linux/riscv64\", \"linux/s390x\", \"linux/ppc64le\"]\n  tags = [\"r.example/t%d:1\"]\n}\n", i, i)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	c, diags := config.Load(config.Options{Dir: dir})
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	for b.Loop() {
		if p, diags := New(c, Options{Targets: []string{"*"}}); diags.HasErrors() || len(p.Builds()) != 8000 {
			b.Fatal(diags)
		}
	}
}

// A registry at an IPv6 address is refused where a device would have to pull from
// it, and only there.
func TestIPv6Registry(t *testing.T) {
	t.Parallel()
	const app = `
target "app" {
  platforms = ["linux/amd64"]
  tags      = ["[::1]:5001/app:1"]
  smoke { command = ["true"] }
}
`
	for device, refused := range map[string]bool{
		"":                                 false,
		`device "here" { host = "local" }`: true,
		`worker "w" { address = "unix:///run/buildkit.sock" }
device "w" { worker = "w" }`: false,
		`device "here" { host = "local" }
release { prove = false }`: false,
	} {
		_, wrong := planned(t, app+device, Options{})
		if strings.Contains(wrong, "IPv6 address") != refused {
			t.Errorf("%s: %s", device, wrong)
		}
	}
}

// What is pushed and what goes to files is decided by the outputs, as bake --push
// has it; only what is pushed, or is below it, has a repository.
func TestOutputs(t *testing.T) {
	t.Parallel()
	p, wrong := planned(t, `
target "nothing-said" { tags = ["r.example/a"] }
target "registry" {
  tags   = ["r.example/b"]
  output = ["type=registry"]
}
target "engine" {
  tags   = ["r.example/c"]
  output = ["type=docker"]
}
target "files" {
  tags      = ["r.example/d"]
  platforms = ["linux/amd64", "linux/arm64"]
  output    = ["bin", { type = "oci", dest = "files.tar", tar = false }, "type=tar,dest=a.tar,platform-split=false"]
  contexts  = { base = "target:base" }
}
target "base" {
  tags      = ["r.example/e"]
  platforms = ["linux/amd64", "linux/arm64"]
}
target "both" {
  tags     = ["r.example/f"]
  output   = ["type=image", "type=docker,dest=both.tar"]
  contexts = { below = "target:below" }
}
target "below" {}
target "nowhere" { output = ["type=cacheonly"] }
`, Options{Targets: []string{"nothing-said", "registry", "engine", "files", "both", "nowhere"}})
	if wrong != "" {
		t.Fatal(wrong)
	}
	got := map[string]string{}
	for _, target := range p.Targets {
		b := target.Builds[0]
		text := fmt.Sprintf("published=%t repository=%q passed=%t", target.Published(), b.Repository, b.Passed)
		for _, o := range target.Outputs {
			text += fmt.Sprintf(" %s:%s dir=%t split=%t", o.Type, o.Dest, o.Dir, o.Split)
		}
		got[target.Name] = text
	}
	want := map[string]string{
		"nothing-said": `published=true repository="r.example/a" passed=false`,
		"registry":     `published=true repository="r.example/b" passed=false`,
		"engine":       `published=true repository="r.example/c" passed=false`,
		"files":        `published=false repository="" passed=false local:bin dir=true split=true oci:files.tar dir=true split=true tar:a.tar dir=false split=false`,
		"base":         `published=false repository="" passed=true`,
		"both":         `published=true repository="r.example/f" passed=false docker:both.tar dir=false split=false`,
		"below":        `published=false repository="r.example/f" passed=false`,
		"nowhere":      `published=false repository="" passed=false`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := p.Hosts(); !slices.Equal(got, []string{"r.example"}) {
		t.Errorf("it asks %v", got)
	}
}
