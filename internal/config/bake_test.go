package config

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

// What bake passes over is a warning in its files, with the word that was
// probably meant, and an error in ours.
func TestUnknownIsJudgedByTheFile(t *testing.T) {
	t.Parallel()
	const text = "target \"default\" {\n  cache_from = [\"x\"]\n}\nwroker \"a\" {}\n"
	for _, tc := range []struct {
		files map[string]string
		error bool
	}{
		{map[string]string{"docker-bake.hcl": text}, false},
		{map[string]string{"docker-bake.hcl": text, "targets.hcl": "release { prove = false }"}, false},
		{map[string]string{"targets.hcl": text}, true},
		{map[string]string{"docker-bake.hcl": text + "release { prove = false }\n"}, true},
		{map[string]string{"docker-bake.json": `{"target": {"default": {"cache_from": ["x"]}}}`}, false},
	} {
		c, diags := load(t, tc.files, env())
		if diags.HasErrors() != tc.error || !strings.Contains(strings.Join(strings.Fields(render(c, diags)), " "), `Did you mean "cache-from"?`) {
			t.Errorf("%v: %s", tc.files, render(c, diags))
		}
	}
}

// A reference sees what all the blocks of a target say together, also where an
// override file does not repeat it. Bake fails there.
func TestReferenceSeesTheMergedTarget(t *testing.T) {
	t.Parallel()
	const base = `
target "base" {
  tags = ["localhost:5000/base:1"]
  args = { A = "1", B = "1" }
  annotations = ["a=1"]
}
target "app" {
  contexts = { base = "docker-image://${target.base.tags[0]}" }
  args     = { BOTH = "${target.base.args.A}${target.base.args.B}" }
}
group "default" { targets = ["app", "base"] }
`
	c, diags := load(t, map[string]string{
		"docker-bake.hcl":          base,
		"docker-bake.override.hcl": `target "base" { args = { A = "2" } }`,
		"targets.hcl":              `target "base" { annotations = ["b=2"] }`,
	}, env())
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	s, diags := c.Read(nil, nil)
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	app, merged := s.Targets["app"], s.Targets["base"]
	if app.Contexts["base"] != "docker-image://localhost:5000/base:1" || *app.Args["BOTH"] != "21" {
		t.Errorf("app: %v %s", app.Contexts, *app.Args["BOTH"])
	}
	if *merged.Args["A"] != "2" || *merged.Args["B"] != "1" || strings.Join(merged.Annotations, " ") != "a=1 b=2" || len(merged.Tags) != 1 {
		t.Errorf("base: %+v", merged)
	}
}

// Files of many targets are evaluated in parts; that must change nothing.
func TestPartsChangeNothing(t *testing.T) {
	t.Parallel()
	c, diags := openProject(t, "testdata/bake/many.txtar").load()
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	if len(c.Targets) != 151 || len(c.Groups) != 1 {
		t.Errorf("%d targets, %d groups", len(c.Targets), len(c.Groups))
	}
	var many strings.Builder
	for i := range 3 * partSize {
		many.WriteString("target \"t" + strings.Repeat("x", i) + "\" { args = { T = timestamp() } }\n")
	}
	c, diags = load(t, map[string]string{"docker-bake.hcl": many.String()}, env())
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	bodies := c.Sources["docker-bake.hcl"].Body
	if n := len(parts([]hcl.Body{bodies})); n != 1 {
		t.Errorf("%d parts of a file that asks for the time", n)
	}
}

// What nobody selected is not judged.
func TestOnlyTheSelectedIsJudged(t *testing.T) {
	t.Parallel()
	c, diags := load(t, map[string]string{"targets.hcl": `
target "default" { tags = ["acme/app:1"] }
target "odd" {
  tags      = ["-x", "a b"]
  platforms = ["linux/amd46"]
  inherits  = ["nobody"]
}
group "lost" { targets = ["nobody"] }
`}, env())
	diags = append(diags, c.Judge(nil, nil)...)
	if diags.HasErrors() {
		t.Fatal(render(c, diags))
	}
	for name, want := range map[string][]string{
		"odd":  {`The tag "-x" begins with a dash`, `did you mean "linux/amd64"`, `no target "nobody" for target "odd"`},
		"lost": {`Group "lost" names "nobody", which is not there`},
	} {
		text := render(c, c.Judge([]string{name}, nil))
		for _, w := range want {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), w) {
				t.Errorf("%s: %q is missing in\n%s", name, w, text)
			}
		}
	}
}

// A cache of GitHub Actions is passed over, aloud, where there is no job of it.
func TestInactiveCaches(t *testing.T) {
	t.Parallel()
	const text = `target "app" {
  cache-from = ["type=gha,scope=a", "acme/app:cache"]
  cache-to   = ["type=gha,mode=max"]
}`
	for _, tc := range []struct {
		env            []string
		from, to, says int
	}{
		{nil, 1, 0, 2},
		{[]string{"ACTIONS_RUNTIME_TOKEN", "t"}, 1, 0, 2},
		{[]string{"ACTIONS_RUNTIME_TOKEN", "t", "ACTIONS_RESULTS_URL", "https://x"}, 2, 1, 0},
	} {
		c, diags := load(t, map[string]string{"docker-bake.hcl": text}, env(tc.env...))
		if diags.HasErrors() {
			t.Fatal(render(c, diags))
		}
		app, err := c.Resolve("app")
		if err != nil {
			t.Fatal(err)
		}
		diags = c.DropInactiveCaches(app)
		if len(app.CacheFrom) != tc.from || len(app.CacheTo) != tc.to || len(diags) != tc.says || diags.HasErrors() {
			t.Errorf("%v: %v %v\n%s", tc.env, app.CacheFrom, app.CacheTo, render(c, diags))
		}
	}
}
