package tasks_test

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

var update = flag.Bool("update", false, "rewrite what testdata/mistakes wants")

// TestMistakes shows each mistake that people make as they see it: one message,
// with its place, what to do about it, and the code of its kind. The files of
// testdata/mistakes hold a command, a project, and all that is printed.
func TestMistakes(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("what is printed names this machine's platform, linux/amd64")
	}
	bin := compiled(t)
	registry := embeddedtest.Registry(t)
	worker := embeddedtest.Worker(t)
	files, err := filepath.Glob("../testdata/mistakes/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("found %d mistakes: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			repository := registry + "/" + name
			dir, want := project(t, archive, strings.NewReplacer("$REGISTRY", registry, "$REPO", repository))
			words := strings.Fields(strings.TrimSpace(string(archive.Comment)))
			if len(words) < 2 || words[0] != "archmage" {
				t.Fatalf("%s does not begin with a command", file)
			}
			cmd := exec.Command(bin, words[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "BUILDKIT_HOST="+worker.Address, "HOME="+filepath.Join(dir, "home"), "NO_COLOR=1", "ARCHMAGE_PROGRESS=quiet", "ARCHMAGE_FILE=", "CI=", "GITHUB_ACTIONS=")
			out, err := cmd.CombinedOutput()
			var ended *exec.ExitError
			code := "exit 0"
			if errors.As(err, &ended) {
				code = strings.Replace(ended.String(), "exit status", "exit", 1)
			} else if err != nil {
				t.Fatal(err)
			}
			// The project lies in a directory of the test's, the registry at a port.
			text := strings.NewReplacer(repository, "$REPO", registry, "$REGISTRY", dir, "$WORK").Replace(string(out))
			got := code + "\n" + trimmed(carets.ReplaceAllString(blanks.ReplaceAllString(variable.ReplaceAllString(stages.ReplaceAllString(text, "  stages  …"), "…"), "  "), "      ^"))
			if *update {
				write(t, file, archive, got)
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got), go test -update rewrites it:\n%s", file, diff)
			}
			once(t, got)
			if _, err := os.Stat(filepath.Join(dir, ".archmage")); strings.Contains(got, "nothing was touched") && err == nil {
				t.Error("something was done for a configuration that is refused")
			}
		})
	}
}

// variable is what differs from run to run.
var variable = regexp.MustCompile(`[0-9a-f]{64}|sha256:[0-9a-f]{12,}|\d{8}T\d{6}Z-[0-9a-f]+|[0-9.]+ (?:m?s|MB|kB)\b|127\.0\.0\.1:\d{4,}->[0-9.:]+`)

// carets are as many as the name of the registry has letters, and the columns of
// a table as wide as what varies in them.
var (
	carets = regexp.MustCompile(`(?m)^ +\^+$`)
	stages = regexp.MustCompile(`(?m)^  stages .*$`)
	blanks = regexp.MustCompile(`  +`)
)

// project writes the files of an archive but the one that is wanted.
func project(t *testing.T, a *txtar.Archive, r *strings.Replacer) (dir, want string) {
	t.Helper()
	dir = t.TempDir()
	for _, f := range a.Files {
		if f.Name == "want" {
			want = string(f.Data)
			continue
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(r.Replace(string(f.Data))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, want
}

func write(t *testing.T, file string, a *txtar.Archive, got string) {
	t.Helper()
	kept := a.Files[:0]
	for _, f := range a.Files {
		if f.Name != "want" {
			kept = append(kept, f)
		}
	}
	a.Files = append(kept, txtar.File{Name: "want", Data: []byte(got)})
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

func trimmed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \t\r\n") + "\n")
	}
	return b.String()
}

// once asserts what holds of every message: no sentence twice, one hint at most,
// no inner words.
func once(t *testing.T, text string) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		// Two mistakes of one kind have one heading.
		if !strings.HasPrefix(text, "exit 2") && !strings.HasPrefix(text, "exit 0") && strings.Contains(line, " ") && len(line) > 24 && seen[line] {
			t.Errorf("printed twice: %s", line)
		}
		seen[line] = true
	}
	if n := strings.Count(text, "hint: "); n > 1 {
		t.Errorf("%d hints", n)
	}
	if strings.HasPrefix(text, "exit 3") || strings.HasPrefix(text, "exit 4") || strings.HasPrefix(text, "exit 5") || strings.HasPrefix(text, "exit 7") {
		if !strings.Contains(text, "hint: ") {
			t.Error("no hint")
		}
	}
	if m := innerWords.FindString(text); m != "" {
		t.Errorf("%q is nothing that a reader knows", m)
	}
}

var innerWords = regexp.MustCompile(`calculate checksum|::[0-9a-z]{20}|rpc error|goroutine|shim task|%!|\\n|mend |panic|cannot be meant`)
