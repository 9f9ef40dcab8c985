package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

var update = flag.Bool("update", false, "rewrite golden files")

func env(kv ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

// load writes the files into a fresh directory and loads them.
func load(t *testing.T, files map[string]string, lookup func(string) (string, bool)) (*Config, hcl.Diagnostics) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(Options{Dir: dir, LookupEnv: lookup})
}

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, diags := load(t, map[string]string{"targets.hcl": text}, nil)
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	return c
}

func render(c *Config, diags hcl.Diagnostics) string {
	var b bytes.Buffer
	w := hcl.NewDiagnosticTextWriter(&b, c.Sources, 78, false)
	if err := w.WriteDiagnostics(diags); err != nil {
		return err.Error()
	}
	return b.String()
}

func TestDiagnostics(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil || len(cases) < 5 {
		t.Fatalf("found %d bad configurations: %v", len(cases), err)
	}
	for _, file := range cases {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// What stands in these files is judged as in a targets.hcl.
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, diags := load(t, map[string]string{"targets.hcl": string(text)}, env())
			for _, name := range c.names() {
				diags = append(diags, c.Judge([]string{name}, nil)...)
			}
			if len(c.names()) == 0 {
				diags = append(diags, c.Judge(nil, nil)...)
			}
			diags = sorted(diags)
			if !diags.HasErrors() {
				t.Fatal("no error was found")
			}
			golden(t, filepath.Join("testdata/bad", name+".txt"), render(c, diags))
		})
	}
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	c, diags := load(t, nil, nil)
	if got := render(c, diags); !strings.Contains(got, "No targets.hcl here") || !strings.Contains(got, "ARCHMAGE_FILE") {
		t.Error(got)
	}
}

func TestOwnBlocks(t *testing.T) {
	t.Parallel()
	c, diags := load(t, map[string]string{
		"docker-bake.hcl": `
variable "HOST" { default = "rack.lan" }
target "app" {
  platforms = ["linux/arm/v6", "linux/amd64"]
  tags = ["registry.example/app"]
}`,
		"targets.hcl": `
target "app" {
  prepare { command = ["make", HOST] }
  platform "linux/arm/v6" {
    args = { LIGHT = lower("YES") }
    optional = true
  }
  smoke {
    command = ["--version"]
    expect {
      exit_code = 3
      stdout = ["^app"]
    }
    http {
      port = 8080
      body = "ok"
    }
    timeout = "5s"
  }
}
target "child" { inherits = ["app"] }
worker "rack" {
  address = "ssh://build@${HOST}"
  platforms = ["linux/arm/v6"]
  slots = 2
  push = "client"
}
worker "here" {}
registry "localhost:5000" { embedded = true }
device "door" {
  host = "pi@door.lan"
  platform = "linux/armel"
}
device "rack" { worker = "rack" }
release { arch_tags = "" }
`,
		"targets.override.hcl": `
worker "rack" { slots = 4 }
release { emulation = "forbid" }
target "app" {
  platform "linux/arm/v6" { dockerfile = "Dockerfile.v6" }
}
`}, env("HOST", "other.lan"))
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	rack := c.Worker("rack")
	if rack.Address != "ssh://build@other.lan" || rack.Slots != 4 || rack.Push != "client" {
		t.Errorf("worker rack: %+v", rack)
	}
	if here := c.Worker("here"); here.Address != "auto" || here.Push != "worker" {
		t.Errorf("worker here: %+v", here)
	}
	if c.Release.ArchTags != "" || c.Release.Emulation != "forbid" || !c.Release.Prove || c.Release.FailOn != "error" {
		t.Errorf("release: %+v", c.Release)
	}
	if d := c.Devices[0]; d.Platform == nil || FormatPlatform(*d.Platform) != "linux/arm/v6" {
		t.Errorf("device door: %+v", d)
	}
	for _, name := range []string{"app", "child"} {
		app, err := c.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		if diags := app.Check(); diags.HasErrors() {
			t.Fatal(render(c, diags))
		}
		if app.Prepare == nil || app.Prepare.Command[1] != "other.lan" {
			t.Errorf("%s: prepare: %+v", name, app.Prepare)
		}
		if len(app.Overrides) != 1 {
			t.Fatalf("%s: %d platform blocks", name, len(app.Overrides))
		}
		o := app.Overrides[0]
		if *o.Args["LIGHT"] != "yes" || *o.Dockerfile != "Dockerfile.v6" || !*o.Optional {
			t.Errorf("%s: platform: %+v", name, o)
		}
		s := app.Smokes[0]
		if s.Timeout.Seconds() != 5 || s.Expect.ExitCode != 3 || s.HTTP.Path != "/" || s.HTTP.Status != 200 {
			t.Errorf("%s: smoke: %+v %+v %+v", name, s, s.Expect, s.HTTP)
		}
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, `
group "a" { targets = ["b", "x"] }
group "b" { targets = ["y"] }
target "x" {}
target "y" {}
target "y2" {}
`)
	for in, want := range map[string]string{"a": "y x", "y*": "y y2", "x,a": "x y"} {
		s, diags := c.Read(strings.Split(in, ","), nil)
		if diags.HasErrors() || strings.Join(s.Order, " ") != want {
			t.Errorf("Read(%q) = %+v, %v; want %s", in, s, diags, want)
		}
	}
	for in, want := range map[string]string{
		"y22": `did you mean "y2"`, "zebra": "There is no target or group \"zebra\"; there are: a, b, x", "q*": "No target matches",
		"": `there is no group or target "default"`,
	} {
		var names []string
		if in != "" {
			names = []string{in}
		}
		if _, diags := c.Read(names, nil); !diags.HasErrors() || !strings.Contains(render(c, diags), want) {
			t.Errorf("Read(%q): %v; want %s", in, diags, want)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"linux/arm": "linux/arm/v7", "linux/arm64/v8": "linux/arm64", "linux/x86_64": "linux/amd64", "linux/amd64/v1": "linux/amd64",
		"linux/amd64/v3": "linux/amd64/v3", "linux/armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6", "linux/aarch64": "linux/arm64",
		"windows/amd64": "windows/amd64", "linux/riscv64": "linux/riscv64",
	} {
		p, err := ParsePlatform(in)
		if err != nil || FormatPlatform(p) != want {
			t.Errorf("ParsePlatform(%q) = %s, %v; want %s", in, FormatPlatform(p), err, want)
		}
	}
	for in, want := range map[string]string{
		"amd64": `"linux/amd64"`, "linux/armv7": `"linux/arm/v7"`, "linux/amd46": `"linux/amd64"`, "linux/arm/v9": "v5, v6, v7, v8",
		"": "of the form", "linux/arm/v7/x": "of the form", "linus/arm64": `"linux/arm64"`, "plan9/mips99xx": "write for example",
	} {
		if _, err := ParsePlatform(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePlatform(%q): %v; want %s", in, err, want)
		}
	}
}

func TestParseAnnotation(t *testing.T) {
	t.Parallel()
	as, err := ParseAnnotation("index[linux/arm64/v8]:a.b=c=d")
	if err == nil {
		t.Fatalf("an index took a platform: %v", as)
	}
	as, err = ParseAnnotation("index,manifest:a.b=c=d")
	if err != nil || len(as) != 2 || as[0].Level != "index" || as[1].Level != "manifest" || as[1].Value != "c=d" {
		t.Errorf("%+v, %v", as, err)
	}
	as, err = ParseAnnotation("manifest-descriptor[linux/arm64/v8]:k=v")
	if err != nil || FormatPlatform(*as[0].Platform) != "linux/arm64" {
		t.Errorf("%+v, %v", as, err)
	}
	for _, bad := range []string{"novalue", "=x", "indx:a=b", "manifest[linux/foo]:a=b"} {
		if _, err := ParseAnnotation(bad); err == nil {
			t.Errorf("ParseAnnotation(%q) found nothing wrong", bad)
		}
	}
}

func FuzzParseAnnotation(f *testing.F) {
	for _, seed := range []string{"k=v", "index,manifest[linux/arm/v6]:k=v", "manifest[:k=v", "index[]:=", "[]=", "manifest]:k=v"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := ParseAnnotation(text)
		if err != nil {
			return
		}
		_, value, _ := strings.Cut(text, "=")
		for _, a := range parsed {
			if a.Key == "" || a.Value != value {
				t.Errorf("%q gives key %q, value %q", text, a.Key, a.Value)
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "target \"t%d\" {\n  platforms = [\"linux/amd64\", \"linux/arm64\", \"linux/arm/v7\", \"linux/arm/v6\", \"linux/386\", \"linux/riscv64\", \"linux/s390x\", \"linux/ppc64le\"]\n  tags = [\"r.example/t%d:1\"]\n}\n", i, i)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if c, diags := Load(Options{Dir: dir}); diags.HasErrors() {
			b.Fatal(render(c, diags))
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}
