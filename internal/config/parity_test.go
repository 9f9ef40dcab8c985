package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/rogpeppe/go-internal/txtar"
)

// buildx is the program that wrote the golden files; see CONTRIBUTING.md.
var buildx = flag.String("buildx", "", "compare with this docker buildx, and with -update write what it prints")

// project is one file of testdata/bake: an environment, files, and what bake
// is asked for besides every target and group by name and all of them.
type project struct {
	name string
	env  []string
	runs []string
	dir  string
}

func openProject(t *testing.T, file string) project {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := project{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), dir: t.TempDir(), runs: []string{"", "*"}}
	for _, line := range strings.Split(string(archive.Comment), "\n") {
		if v, ok := strings.CutPrefix(line, "env "); ok {
			p.env = append(p.env, v)
		} else if v, ok := strings.CutPrefix(line, "bake "); ok {
			p.runs = append(p.runs, v)
		}
	}
	for _, f := range archive.Files {
		if err := os.WriteFile(filepath.Join(p.dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p project) load() (*Config, hcl.Diagnostics) {
	var kv []string
	for _, e := range p.env {
		k, v, _ := strings.Cut(e, "=")
		kv = append(kv, k, v)
	}
	return Load(Options{Dir: p.dir, LookupEnv: env(kv...), Environ: p.env})
}

// arguments takes a run apart: names, and --set with its value.
func arguments(run string) (names, set []string) {
	words := strings.Fields(run)
	for i := 0; i < len(words); i++ {
		if words[i] == "--set" {
			i++
			set = append(set, words[i])
			continue
		}
		names = append(names, words[i])
	}
	return names, set
}

// ours is what we print, or the reason for a refusal.
func ours(t *testing.T, c *Config, diags hcl.Diagnostics, run string) (any, string) {
	t.Helper()
	if diags.HasErrors() {
		return nil, render(c, diags)
	}
	names, set := arguments(run)
	s, diags := c.ReadAsBake(names, set)
	if diags.HasErrors() {
		return nil, render(c, diags)
	}
	b, diags := c.Bake(s, func(c string) bool {
		_, ok, _ := dfgitutil.ParseGitRef(c)
		return ok || strings.HasPrefix(c, "https://") || strings.HasPrefix(c, "http://")
	})
	if diags.HasErrors() {
		return nil, render(c, diags)
	}
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return comparable(t, data), ""
}

func (p project) bakes(t *testing.T, run string) (any, string) {
	t.Helper()
	cmd := exec.Command(*buildx, append([]string{"bake", "--print"}, strings.Fields(run)...)...)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "BUILDX_NO_DEFAULT_ATTESTATIONS=1"}, p.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, errs.String()
	}
	return comparable(t, out.Bytes()), ""
}

var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// comparable masks the time, and sorts what comes by chance in bake: the members
// of groups, for a matrix of several axes, and the ulimits of a compose file.
func comparable(t *testing.T, data []byte) any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(timestamp.ReplaceAll(data, []byte("TIME")), &out); err != nil {
		t.Fatal(err)
	}
	for _, list := range []struct{ of, key string }{{"group", "targets"}, {"target", "ulimits"}} {
		all, _ := out[list.of].(map[string]any)
		for _, g := range all {
			if members, ok := g.(map[string]any)[list.key].([]any); ok {
				slices.SortFunc(members, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			}
		}
	}
	return out
}

// Every project in testdata/bake is printed, for each of its targets and
// groups, as docker buildx bake --print v0.38.2 printed it, or refused by both.
func TestPrintsAsBakeDoes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bake/*.txtar")
	if err != nil || len(files) < 150 {
		t.Fatalf("found %d projects: %v", len(files), err)
	}
	counts := make(chan string)
	done := make(chan map[string]int)
	go func() {
		sum := map[string]int{}
		for c := range counts {
			sum[c]++
		}
		done <- sum
	}()
	t.Run("projects", func(t *testing.T) {
		for _, file := range files {
			p := openProject(t, file)
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				p.compare(t, strings.TrimSuffix(file, ".txtar")+".json", counts)
			})
		}
	})
	close(counts)
	sum := <-done
	var words []string
	for _, k := range slices.Sorted(maps.Keys(sum)) {
		words = append(words, fmt.Sprintf("%s %d", k, sum[k]))
	}
	t.Logf("%d projects: %s", len(files), strings.Join(words, ", "))
}

func (p project) compare(t *testing.T, golden string, counts chan<- string) {
	want := map[string]any{}
	if *buildx != "" {
		if c, diags := p.load(); !diags.HasErrors() {
			names := c.names()
			p.runs = append(p.runs, names[:min(len(names), 12)]...)
		}
		reasons := map[string]string{}
		for _, run := range p.runs {
			want[run], reasons[run] = p.bakes(t, run)
		}
		p.goldens(t, golden, want)
		for run, why := range reasons {
			if why != "" {
				t.Logf("bake refuses %q: %s", run, strings.TrimSpace(why))
			}
		}
	} else {
		data, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
	}
	c, diags := p.load()
	for _, run := range slices.Sorted(maps.Keys(want)) {
		got, why := ours(t, c, diags, run)
		switch {
		case want[run] == nil && got == nil:
			counts <- "refused by both"
		case got == nil:
			counts <- "refused by us alone"
			t.Errorf("bake %s: we alone refuse it:\n%s", run, why)
		case want[run] == nil:
			counts <- "refused by bake alone"
			t.Errorf("bake %s: bake alone refuses it; we print %v", run, got)
		case !cmp.Equal(want[run], got):
			counts <- "different"
			t.Errorf("bake %s: bake prints (-) what we do not (+):\n%s", run, cmp.Diff(want[run], got))
		default:
			counts <- "equal"
		}
	}
}

// goldens writes what bake prints, or compares it with what it printed before.
func (p project) goldens(t *testing.T, file string, want map[string]any) {
	t.Helper()
	data, err := json.MarshalIndent(want, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	if *update {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	had, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(had), string(data)); d != "" {
		t.Errorf("%s is not what this buildx prints (-file +buildx):\n%s", file, d)
	}
}
