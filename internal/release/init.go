package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/archmage-build/archmage/internal/config"
)

// configName is the file that Init writes.
const configName = "targets.hcl"

// maxDockerfiles is how many Dockerfiles make targets.
const maxDockerfiles = 20

// found is a target that Init writes.
type found struct {
	name, context, dockerfile, stage string
	args                             map[string]string
	tags                             []string
	platforms                        []string
	// from is where it was found, for people.
	from string
}

// Init writes a first targets.hcl from the Dockerfiles, the bake file or the
// compose file that are there, and says what it found. It overwrites nothing.
func (w *Workspace) Init() error {
	file := filepath.Join(w.Dir, configName)
	if _, err := os.Lstat(file); err == nil {
		return usage("There is a targets.hcl", fmt.Errorf("%s is there already; change it, or move it away", file))
	}
	text, err := w.draftConfig()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("writing a first %s: %w", configName, err)
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("writing a first %s: %w", configName, err)
	}
	// A release may still want what nobody here can know, such as a file.
	p, err := w.loadPublishable(Selection{})
	if err != nil {
		w.say("wrote %s; correct what is said below", file)
		return err
	}
	w.say("wrote %s: %s", file, matrix(p))
	w.say("next: `mage plan` shows what a release would do, `mage release` does it")
	return nil
}

// draftConfig is the text of a first targets.hcl.
func (w *Workspace) draftConfig() (string, error) {
	c, diags := config.Load(config.Options{Dir: w.Dir, LookupEnv: w.LookupEnv, Environ: w.Environ})
	if len(c.Files) > 0 && diags.HasErrors() {
		return "", &InputError{Diags: diags, Sources: c.Sources}
	}
	if len(c.Files) == 0 {
		targets, err := dockerfiles(w.Dir)
		if err != nil {
			return "", fmt.Errorf("looking for Dockerfiles: %w", err)
		}
		if len(targets) == 0 {
			return "", usage("Nothing to release", fmt.Errorf("%s has no Dockerfile, bake file or compose file; write a Dockerfile, or go to the directory that has one", w.Dir))
		}
		for _, t := range targets {
			w.say("found %s: target %q, context %q", t.from, t.name, t.context)
		}
		return w.render(targets, true), nil
	}
	if slices.ContainsFunc(c.Files, isCompose) {
		// A compose file counts only where there is no targets.hcl, so what it says
		// is written down.
		targets := w.services(c)
		if len(targets) == 0 {
			return "", usage("Nothing to release", fmt.Errorf("no service of %s has a build section", strings.Join(c.Files, ", ")))
		}
		return w.render(targets, true), nil
	}
	return w.addition(c)
}

func isCompose(name string) bool {
	switch filepath.Ext(name) {
	case ".yml", ".yaml":
		return true
	}
	return false
}

// services are the targets of compose files.
func (w *Workspace) services(c *config.Config) []found {
	var out []found
	for _, t := range c.Everything() {
		f := found{name: t.Name, context: ".", tags: t.Tags, platforms: t.Platforms, args: map[string]string{}, from: strings.Join(c.Files, ", ")}
		if t.Context != nil {
			f.context = *t.Context
		}
		if t.Dockerfile != nil {
			f.dockerfile = *t.Dockerfile
		}
		if t.Target != nil {
			f.stage = *t.Target
		}
		for k, v := range t.Args {
			if v != nil {
				f.args[k] = *v
			}
		}
		w.say("found service %s in %s: target %q, context %q", t.Name, f.from, f.name, f.context)
		if left := leftOut(t); len(left) > 0 {
			w.status.Warn(fmt.Sprintf("service %s: %s of its build section are not written down; add what the image needs of them to target %q", t.Name, strings.Join(left, ", "), t.Name))
		}
		out = append(out, f)
	}
	return out
}

// leftOut are the attributes of a target that found has no field for.
func leftOut(t *config.Target) []string {
	var out []string
	v := reflect.ValueOf(*t)
	for i := range v.NumField() {
		name, kind, _ := strings.Cut(v.Type().Field(i).Tag.Get("hcl"), ",")
		if name == "" || kind == "label" || v.Field(i).IsZero() {
			continue
		}
		if k := v.Field(i).Kind(); (k == reflect.Slice || k == reflect.Map) && v.Field(i).Len() == 0 {
			continue
		}
		if !slices.Contains([]string{"context", "dockerfile", "target", "args", "platforms", "tags"}, name) {
			out = append(out, name)
		}
	}
	return out
}

// addition is what a bake file lacks for a release: a default, tags, and where
// to build and prove.
func (w *Workspace) addition(c *config.Config) (string, error) {
	var targets []found
	w.say("found %s: its targets count as they are", strings.Join(c.Files, ", "))
	selection, diags := c.Read(nil, nil)
	chosen := map[string]*config.Target{}
	group := false
	if !diags.HasErrors() {
		for _, n := range selection.Order {
			if !selection.Linked[n] {
				chosen[n] = selection.Targets[n]
			}
		}
	} else {
		for _, t := range c.Everything() {
			if !strings.HasPrefix(t.Name, "_") {
				chosen[t.Name] = t
			}
		}
		if len(chosen) == 0 {
			return "", &InputError{Diags: diags, Sources: c.Sources}
		}
		group = true
	}
	var names []string
	for _, t := range c.Targets {
		if chosen[t.Name] == nil {
			continue
		}
		names = append(names, t.Name)
		if len(chosen[t.Name].Tags) == 0 {
			targets = append(targets, found{name: t.Name})
			w.say("target %q has no tags: they are added", t.Name)
		}
	}
	text := w.render(targets, false)
	if group {
		w.say("there is no group \"default\": one of all targets is added")
		text += fmt.Sprintf("\ngroup \"default\" {\n  targets = %s\n}\n", quoteList(names))
	}
	return text, nil
}

// render writes targets.hcl, with the places of the images at the top.
func (w *Workspace) render(targets []found, whole bool) string {
	var b strings.Builder
	b.WriteString("# What is released, where it is built, and what must hold before a tag moves.\n")
	if !whole {
		b.WriteString("# The bake file beside it says what is built; this file is laid over it.\n")
	}
	const local = "localhost:5000"
	tagged := !slices.ContainsFunc(targets, func(t found) bool { return len(t.tags) == 0 })
	if !tagged {
		project := imageName(filepath.Base(w.Dir))
		fmt.Fprintf(&b, "\nvariable \"VERSION\" {\n  default = \"dev\"\n}\n")
		where := ""
		if remote := gitRemote(w.Dir); remote != "" {
			where = ", such as " + remote
		}
		fmt.Fprintf(&b, "\n# Where the images go%s. The default is a registry that runs here.\n", where)
		fmt.Fprintf(&b, "variable \"REPOSITORY\" {\n  default = %s\n}\n", quote(local+"/"+project))
		fmt.Fprintf(&b, "\nregistry %s {\n  embedded = true\n}\n", quote(local))
	}
	if whole && len(targets) > 1 {
		var names []string
		for _, t := range targets {
			names = append(names, t.name)
		}
		fmt.Fprintf(&b, "\ngroup \"default\" {\n  targets = %s\n}\n", quoteList(names))
	}
	for _, t := range targets {
		fmt.Fprintf(&b, "\ntarget %s {\n", quote(t.name))
		if whole {
			fmt.Fprintf(&b, "  context    = %s\n", quote(t.context))
			if t.dockerfile != "" && t.dockerfile != "Dockerfile" {
				fmt.Fprintf(&b, "  dockerfile = %s\n", quote(t.dockerfile))
			}
			if t.stage != "" {
				fmt.Fprintf(&b, "  target     = %s\n", quote(t.stage))
			}
			platforms := t.platforms
			if len(platforms) == 0 {
				platforms = []string{"linux/amd64", "linux/arm64"}
			}
			fmt.Fprintf(&b, "  platforms  = %s\n", quoteList(platforms))
		}
		switch {
		case len(t.tags) > 0:
			fmt.Fprintf(&b, "  tags       = %s\n", quoteList(t.tags))
		case len(targets) == 1 && whole:
			b.WriteString("  tags       = [\"${REPOSITORY}:${VERSION}\"]\n")
		default:
			fmt.Fprintf(&b, "  tags       = [\"${REPOSITORY}/%s:${VERSION}\"]\n", imageName(t.name))
		}
		if len(t.args) > 0 {
			b.WriteString("  args = {\n")
			for _, k := range sortedKeys(t.args) {
				fmt.Fprintf(&b, "    %s = %s\n", quote(k), quote(t.args[k]))
			}
			b.WriteString("  }\n")
		}
		if whole {
			b.WriteString("\n  # What must hold on each device before a tag moves:\n  # smoke {\n  #   command = [\"--version\"]\n  # }\n")
		}
		b.WriteString("}\n")
	}
	b.WriteString("\n# Machines that run the images before a tag moves:\n# device \"here\" {\n#   host = \"local\"\n# }\n")
	return string(hclwrite.Format([]byte(b.String())))
}

func quote(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}

func quoteList(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, quote(s))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// dockerfiles finds the Dockerfiles of a project, and what each is built from.
func dockerfiles(root string) ([]found, error) {
	var out []found
	project, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = project.Close() }() // it was only read
	err = fs.WalkDir(project.FS(), ".", func(rel string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return fs.SkipDir
			}
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if rel != "." && (strings.HasPrefix(name, ".") || slices.Contains([]string{"node_modules", "vendor", "testdata", "dist", "target"}, name) || strings.Count(rel, "/") >= 3) {
				return fs.SkipDir
			}
			return nil
		}
		suffix, ok := dockerfileName(d.Name())
		if !ok || !d.Type().IsRegular() {
			return nil
		}
		data, err := fs.ReadFile(project.FS(), rel)
		if err != nil || !from.Match(data) {
			return nil //nolint:nilerror // what cannot be read makes no target
		}
		dir := path.Dir(rel)
		f := found{context: dir, dockerfile: path.Base(rel), from: rel}
		if dir != "." && !copiesFrom(root, dir, data) && copiesFrom(root, ".", data) {
			f.context, f.dockerfile = ".", rel
		}
		f.name = suffix
		if f.name == "" || dir != "." {
			base := filepath.Base(root)
			if dir != "." {
				base = dir
			}
			f.name = strings.Trim(base+"-"+suffix, "-")
		}
		out = append(out, f)
		if len(out) > maxDockerfiles {
			return fs.SkipAll
		}
		return nil
	})
	taken := map[string]bool{}
	for i := range out {
		name := targetName(out[i].name)
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", targetName(out[i].name), n)
		}
		taken[name] = true
		out[i].name = name
	}
	return out, err
}

// from matches the instruction without which a file is no Dockerfile.
var from = regexp.MustCompile(`(?mi)^\s*FROM\s+\S`)

// dockerfileName reports whether a file is called as Dockerfiles are, and what
// the name says of it: "dev" of Dockerfile.dev and dev.Dockerfile.
func dockerfileName(name string) (suffix string, ok bool) {
	for _, word := range []string{"Dockerfile", "Containerfile"} {
		switch {
		case name == word:
			return "", true
		case strings.HasPrefix(name, word+"."):
			suffix = strings.TrimPrefix(name, word+".")
			return suffix, !strings.Contains(suffix, "dockerignore") && suffix != "orig" && suffix != "bak"
		case strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(word)):
			return name[:len(name)-len(word)-1], true
		}
	}
	return "", false
}

// copied matches what COPY and ADD take from the context.
var copied = regexp.MustCompile(`(?mi)^\s*(?:COPY|ADD)\s+(.*)$`)

// copiesFrom reports whether the first sources of a Dockerfile's COPY
// instructions are below a directory.
func copiesFrom(root, dir string, dockerfile []byte) bool {
	for _, m := range copied.FindAllSubmatch(dockerfile, -1) {
		words := strings.Fields(string(m[1]))
		words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") && !strings.HasPrefix(w, "--from=") })
		if len(words) < 2 || strings.HasPrefix(words[0], "--from=") || strings.ContainsAny(words[0], "*?[$:<\"") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(dir), filepath.FromSlash(words[0]))); err != nil {
			return false
		}
	}
	return true
}

var (
	notInTarget = regexp.MustCompile(`[^a-zA-Z0-9_-]+`)
	notInImage  = regexp.MustCompile(`[^a-z0-9]+`)
)

// targetName is a name as targets may have it.
func targetName(s string) string {
	if s = strings.Trim(notInTarget.ReplaceAllString(s, "-"), "-_"); s == "" || s == "default" {
		return "app"
	}
	return s
}

// imageName is a name as repositories may have it.
func imageName(s string) string {
	if s = strings.Trim(notInImage.ReplaceAllString(strings.ToLower(s), "-"), "-"); s == "" {
		return "app"
	}
	return s
}

// gitRemote guesses the registry that goes with where a repository is hosted.
func gitRemote(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, ".git", "config"))
	if err != nil {
		return ""
	}
	m := remoteURL.FindStringSubmatch(string(data))
	if m == nil {
		return ""
	}
	registry := map[string]string{"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"}[m[1]]
	if registry == "" {
		return ""
	}
	return registry + "/" + strings.ToLower(m[2])
}

var remoteURL = regexp.MustCompile(`(?m)^\s*url\s*=\s*(?:https://|ssh://)?(?:[^@/\s]+@)?(github\.com|gitlab\.com)[:/]([\w./-]+?)(?:\.git)?\s*$`)
