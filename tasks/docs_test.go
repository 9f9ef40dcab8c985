package tasks_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// example is a block of code on a page.
type example struct {
	page     string
	line     int
	language string
	text     string
}

func examples(t *testing.T) []example {
	t.Helper()
	pages := []string{"../README.md", "../CONTRIBUTING.md"}
	for _, pattern := range []string{"../docs/*.md", "../docs/examples/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	var out []example
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		line := 1
		for i, part := range strings.Split(string(text), "```") {
			if language, body, ok := strings.Cut(part, "\n"); ok && i%2 == 1 {
				out = append(out, example{page, line + 1, language, body})
			}
			line += strings.Count(part, "\n")
		}
	}
	return out
}

var (
	contextAttr = regexp.MustCompile(`(?m)^\s*context\s*=\s*"([^"]+)"`)
	hasTarget   = regexp.MustCompile(`(?m)^target `)
	ofTarget    = regexp.MustCompile(`(?m)^(?:smoke|prepare|platform) .*\{`)
)

// Every configuration that people copy from a page can be planned.
func TestExamplesPlan(t *testing.T) {
	t.Parallel()
	bin := compiled(t)
	planned := 0
	for _, e := range examples(t) {
		if e.language != "hcl" {
			continue
		}
		planned++
		text := e.text
		switch {
		case hasTarget.MatchString(text):
		case ofTarget.MatchString(text): // a part of one
			text = "target \"app\" {\n  platforms = [\"linux/amd64\", \"linux/arm/v6\"]\n  tags = [\"registry.example/app:1\"]\n" + text + "}\n"
		default:
			text += "\ntarget \"app\" {\n  platforms = [\"linux/amd64\", \"linux/arm/v6\"]\n  tags = [\"registry.example/app:1\"]\n  smoke { command = [\"--version\"] }\n}\n"
			if strings.Contains(text, `worker = "rack"`) {
				text += "worker \"rack\" { address = \"tcp://rack.lan:1234\" }\nworker \"here\" { address = \"auto\" }\n"
			}
		}
		dir := t.TempDir()
		for _, m := range append(contextAttr.FindAllStringSubmatch(text, -1), []string{"", "."}) {
			context := filepath.Join(dir, m[1])
			if err := os.MkdirAll(context, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte("FROM scratch\nCOPY . /\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		// An ellipsis stands for what only the reader knows.
		text = strings.ReplaceAll(text, "SHA256:…", "SHA256:"+strings.Repeat("A", 43))
		if err := os.WriteFile(filepath.Join(dir, "targets.hcl"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, "plan")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", e.page, e.line, err, out)
		}
	}
	if planned < 25 {
		t.Errorf("found only %d configurations", planned)
	}
}

// Every command of a page is one, with its flags.
func TestExamplesCommands(t *testing.T) {
	t.Parallel()
	command := filepath.Join(t.TempDir(), "archmage")
	if out, err := exec.Command("go", "build", "-o", command, "./archmage").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list, err := exec.Command(compiled(t), "-l").Output()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, e := range examples(t) {
		switch e.language {
		case "yaml":
			var any map[string]any
			if err := yaml.Unmarshal([]byte(e.text), &any); err != nil {
				t.Errorf("%s:%d: %v", e.page, e.line, err)
			}
			continue
		case "console":
		default:
			continue
		}
		for line := range strings.Lines(e.text) {
			line, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if !ok {
				continue
			}
			tried++
			line, _, _ = strings.Cut(line, " #")
			words := strings.Fields(strings.TrimSpace(line))
			switch {
			case words[0] == "archmage":
				// Flags and words are judged before the help is shown.
				if out, err := exec.Command(command, append(words[1:], "--help")...).CombinedOutput(); err != nil {
					t.Errorf("%s:%d: %s: %v\n%s", e.page, e.line, line, err, out)
				}
			case strings.HasPrefix(line, "go tool mage "):
				if !strings.Contains(string(list), "  "+words[3]+" ") {
					t.Errorf("%s:%d: %s: there is no such task", e.page, e.line, line)
				}
			case strings.HasPrefix(line, "go install "):
				dir := strings.TrimPrefix(strings.TrimSuffix(words[2], "@latest"), "github.com/archmage-build/archmage/")
				if _, err := os.Stat(filepath.Join("..", dir, "main.go")); err != nil {
					t.Errorf("%s:%d: %s: %v", e.page, e.line, line, err)
				}
			}
		}
	}
	if tried < 25 {
		t.Errorf("found only %d commands", tried)
	}
}

// TestOwnProject walks through README's section of that name.
func TestOwnProject(t *testing.T) {
	t.Parallel()
	registry, worker := embeddedtest.Registry(t), embeddedtest.Worker(t)
	dir := t.TempDir()
	command := filepath.Join(dir, "archmage")
	if out, err := exec.Command("go", "build", "-o", command, "./archmage").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Your own project\n")
	_, block, _ := strings.Cut(section, "```console\n")
	block, _, _ = strings.Cut(block, "```")
	project := filepath.Join(dir, "app")
	if err := os.Mkdir(project, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(project, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for line := range strings.Lines(block) {
		words := strings.Fields(strings.TrimPrefix(line, "$ "))
		if len(words) < 2 || words[0] != "archmage" {
			t.Fatalf("what is %q?", line)
		}
		if words[1] == "release" { // to the test's registry
			words = append(words, "--set=*.tags="+registry+"/own:1")
		}
		cmd := exec.Command(command, words[1:]...)
		cmd.Dir = project
		cmd.Env = append(os.Environ(), "HOME="+dir, "BUILDKIT_HOST="+worker.Address)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.TrimSpace(line), err, out)
		}
		ran++
	}
	if ran != 3 {
		t.Errorf("%d commands ran, want 3", ran)
	}
}
