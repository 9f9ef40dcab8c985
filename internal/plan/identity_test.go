package plan

import (
	"strings"
	"testing"
)

// An interrupted release goes on for what is released, not for how this machine
// is set up or what the builds are made of.
func TestIdentity(t *testing.T) {
	t.Parallel()
	const base = `target "app" {
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["r.example/app:1"]
}
`
	identity := func(text string) string {
		t.Helper()
		p, problems := planned(t, text, Options{})
		if problems != "" {
			t.Fatal(problems)
		}
		return p.Identity()
	}
	want := identity(base)
	if want != identity(base) {
		t.Error("it differs from itself")
	}
	for name, text := range map[string]string{
		"a worker":     base + "worker \"w\" {\n  address = \"tcp://w:1\"\n}\n",
		"an argument":  strings.Replace(base, "tags ", "args = { A = \"b\" }\n  tags ", 1),
		"a Dockerfile": strings.Replace(base, "tags ", "dockerfile = \"other\"\n  tags ", 1),
	} {
		if identity(text) != want {
			t.Errorf("%s makes it another release", name)
		}
	}
	for name, text := range map[string]string{
		"a tag":       strings.Replace(base, ":1", ":2", 1),
		"a platform":  strings.Replace(base, `, "linux/arm64"`, "", 1),
		"arch tags":   base + "release {\n  arch_tags = \"\"\n}\n",
		"media types": base + "release {\n  media_types = \"docker\"\n}\n",
		"a target":    base + "target \"b\" {\n  tags = [\"r.example/b:1\"]\n}\ngroup \"default\" {\n  targets = [\"app\", \"b\"]\n}\n",
	} {
		if identity(text) == want {
			t.Errorf("%s does not make it another release", name)
		}
	}
}
