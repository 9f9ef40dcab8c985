package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var public = flag.String("public", "", "with -buildx, compare the bake files below this directory, which git clones of public projects may be")

var bakeBlock = regexp.MustCompile(`(?m)^\s*(target|group)\s+["\w]|"(target|group)"\s*:`)

// bakeFiles are the files below root that have blocks of bake, and the
// directories that bake finds its default files in.
func bakeFiles(t *testing.T, root string) (files, dirs []string) {
	t.Helper()
	defaults := slices.Concat(ComposeFiles, BakeFiles)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		ext := filepath.Ext(path)
		if slices.Contains(defaults, d.Name()) {
			dirs = append(dirs, filepath.Dir(path))
		}
		if ext != ".hcl" && (ext != ".json" || !strings.Contains(d.Name(), "bake")) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && bakeBlock.Match(data) {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, slices.Compact(dirs)
}

// Every bake file of a directory of public projects is printed, for each of its
// targets and groups, as the buildx at hand prints it, or refused by both.
func TestPrintsPublicFilesAsBakeDoes(t *testing.T) {
	if *public == "" || *buildx == "" {
		t.Skip("needs -buildx and -public")
	}
	files, dirs := bakeFiles(t, *public)
	type job struct{ dir, file string }
	var jobs []job
	for _, f := range files {
		jobs = append(jobs, job{filepath.Dir(f), filepath.Base(f)})
	}
	for _, d := range dirs {
		jobs = append(jobs, job{d, ""})
	}
	sum := map[string]int{}
	repos := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for _, j := range jobs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			counts := comparePublic(t, j.dir, j.file)
			mu.Lock()
			defer mu.Unlock()
			rel, _ := filepath.Rel(*public, j.dir)
			repo, _, _ := strings.Cut(rel, "/")
			if _, ok := repos[repo]; !ok {
				repos[repo] = true
			}
			for k, n := range counts {
				sum[k] += n
				if k != "equal" && k != "refused by both" {
					repos[repo] = false
				}
			}
		}()
	}
	wg.Wait()
	equal := 0
	for _, ok := range repos {
		equal += boolRank(ok)
	}
	var words []string
	for _, k := range slices.Sorted(maps.Keys(sum)) {
		words = append(words, fmt.Sprintf("%s %d", k, sum[k]))
	}
	t.Logf("%d files and %d directories of %d projects, %d of them equal throughout: %s", len(files), len(dirs), len(repos), equal, strings.Join(words, ", "))
}

func comparePublic(t *testing.T, dir, file string) map[string]int {
	bake := func(args ...string) ([]byte, string) {
		if file != "" {
			args = append(args, "-f", file)
		}
		cmd := exec.Command(*buildx, append([]string{"bake"}, args...)...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + t.TempDir(), "BUILDX_NO_DEFAULT_ATTESTATIONS=1", "PATH=" + os.Getenv("PATH")}
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			return nil, errs.String()
		}
		return out.Bytes(), ""
	}
	o := Options{Dir: dir, LookupEnv: env("PATH", os.Getenv("PATH")), Environ: []string{"PATH=" + os.Getenv("PATH")}}
	if file != "" {
		o.Files = []string{file}
	}
	runs := []string{"", "*"}
	var list []struct{ Name string }
	if data, _ := bake("--list=type=targets,format=json"); data != nil {
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range list[:min(len(list), 60)] {
		runs = append(runs, l.Name)
	}
	sum := map[string]int{}
	c, diags := Load(o)
	where := filepath.Join(dir, file)
	for _, run := range runs {
		var want any
		data, refusal := bake(append([]string{"--print"}, strings.Fields(run)...)...)
		if data != nil {
			want = comparable(t, data)
		}
		got, why := ours(t, c, diags, run)
		switch {
		case want == nil && got == nil:
			sum["refused by both"]++
		case got == nil:
			sum["refused by us alone"]++
			t.Errorf("%s: bake %s: we alone refuse it:\n%s", where, run, why)
		case want == nil:
			sum["refused by bake alone"]++
			t.Errorf("%s: bake %s: bake alone refuses it: %s", where, run, refusal)
		case !cmp.Equal(want, got):
			sum["different"]++
			t.Errorf("%s: bake %s: bake prints (-) what we do not (+):\n%s", where, run, cmp.Diff(want, got))
		default:
			sum["equal"]++
		}
	}
	return sum
}
