package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
	"go.yaml.in/yaml/v3"
)

// compose makes a target of every service with a build section, and a group
// "default" of them all, as bake does; see
// https://docs.docker.com/build/bake/compose-file/.
func (c *Config) compose(files []*file, environ []string) hcl.Diagnostics {
	var configs []types.ConfigFile
	var names []string
	for _, f := range files {
		if composeName(f.name) {
			configs = append(configs, types.ConfigFile{Filename: f.name, Content: f.data})
			names = append(names, f.name)
		}
	}
	if len(configs) == 0 {
		return nil
	}
	fail := func(err error) hcl.Diagnostics {
		return hcl.Diagnostics{{
			Severity: hcl.DiagError, Summary: "Invalid compose file", Detail: fmt.Sprintf("Reading %s: %v.", strings.Join(names, ", "), err),
			Subject: &hcl.Range{Filename: names[0], Start: hcl.InitialPos, End: hcl.InitialPos},
		}}
	}
	env, err := c.composeEnv(environ)
	if err != nil {
		return fail(err)
	}
	project, err := loadCompose(configs, env, c.workingDir())
	if err != nil {
		return fail(err)
	}
	for name, s := range project.Services {
		if s.Build != nil {
			s.Build.Context = c.relative(s.Build.Context)
			for k, v := range s.Build.AdditionalContexts {
				s.Build.AdditionalContexts[k] = c.relative(v)
			}
			for i, k := range s.Build.SSH {
				s.Build.SSH[i].Path = c.relative(k.Path)
			}
			project.Services[name] = s
		}
	}
	for name, s := range project.Secrets {
		s.File = c.relative(s.File)
		project.Secrets[name] = s
	}
	if len(project.Services) == 0 {
		return nil
	}
	all := &Group{Name: "default"}
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		s := project.Services[name]
		if s.Build == nil {
			continue
		}
		t, err := composeTarget(project, s)
		if err != nil {
			return fail(fmt.Errorf("service %q: %w", name, err))
		}
		all.Targets = append(all.Targets, t.Name)
		c.addTarget(t)
	}
	c.addGroup(all)
	return nil
}

// workingDir is what the paths of compose files are relative to: "" in the working
// directory, where compose-go leaves them as bake prints them.
func (c *Config) workingDir() string {
	here, err := os.Getwd()
	if err != nil || c.dir == "" || filepath.Clean(c.dir) == here {
		return ""
	}
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return ""
	}
	return dir
}

// relative takes back that compose-go makes paths absolute where it is told a
// directory.
func (c *Config) relative(path string) string {
	dir := c.workingDir()
	if dir == "" || !filepath.IsAbs(path) {
		return path
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return path
	}
	return rel
}

// composeEnv is the environment, and below it the .env file.
func (c *Config) composeEnv(environ []string) (map[string]string, error) {
	env := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	data, err := os.ReadFile(c.path(".env"))
	if errors.Is(err, fs.ErrNotExist) {
		return env, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading .env: %w", unwrapPath(err))
	}
	found, err := dotenv.UnmarshalBytesWithLookup(data, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	if err != nil {
		return nil, fmt.Errorf("reading .env: %w", err)
	}
	for k, v := range found {
		if _, ok := env[k]; !ok {
			env[k] = v
		}
	}
	return env, nil
}

// loadCompose reads what of the files concerns builds, as bake does: nothing
// else of a service is validated.
func loadCompose(files []types.ConfigFile, env map[string]string, dir string) (*types.Project, error) {
	details := types.ConfigDetails{ConfigFiles: files, Environment: env, WorkingDir: dir}
	raw, err := loader.LoadModelWithContext(context.Background(), details, func(o *loader.Options) {
		name := "bake"
		if v := env["COMPOSE_PROJECT_NAME"]; v != "" {
			name = v
		}
		o.SetProjectName(name, false)
		o.SkipNormalization = true
		o.SkipValidation = true
	})
	if err != nil {
		return nil, err
	}
	filtered := map[string]any{}
	if services, ok := raw["services"].(map[string]any); ok {
		kept := map[string]any{}
		for name, s := range services {
			fields := map[string]any{}
			if m, ok := s.(map[string]any); ok {
				for _, k := range []string{"image", "build", "environment", "env_file"} {
					if v, ok := m[k]; ok {
						fields[k] = v
					}
				}
			} else if s != nil {
				continue
			}
			kept[name] = fields
		}
		filtered["services"] = kept
	}
	if v, ok := raw["secrets"]; ok {
		filtered["secrets"] = v
	}
	if len(filtered) == 0 {
		return nil, errors.New("it has no services")
	}
	if err := schema.Validate(filtered); err != nil {
		return nil, err
	}
	return loader.ModelToProject(filtered, loader.ToOptions(&details, []func(*loader.Options){func(o *loader.Options) {
		o.SkipNormalization = true
		o.Profiles = []string{"*"}
	}}), details)
}

func composeTarget(project *types.Project, s types.ServiceConfig) (*Target, error) {
	b := s.Build
	t := &Target{Name: strings.ReplaceAll(s.Name, ".", "_")}
	if !targetName.MatchString(t.Name) {
		return nil, fmt.Errorf("the name has characters other than letters, digits, _ and -")
	}
	text := func(dst **string, v string) {
		if v != "" {
			*dst = &v
		}
	}
	text(&t.Context, b.Context)
	text(&t.Dockerfile, b.Dockerfile)
	text(&t.DockerfileInline, b.DockerfileInline)
	text(&t.Network, b.Network)
	text(&t.Target, b.Target)
	if b.ShmSize > 0 {
		t.ShmSize = ptr(units.BytesSize(float64(b.ShmSize)))
	}
	if b.NoCache {
		t.NoCache = ptr(true)
	}
	if b.Pull {
		t.Pull = ptr(true)
	}
	t.Contexts = composeContexts(b.AdditionalContexts)
	t.Tags, t.Platforms = b.Tags, b.Platforms
	t.Labels = map[string]*string{}
	for k, v := range b.Labels {
		t.Labels[k] = ptr(v)
	}
	t.ExtraHosts = map[string]*string{}
	for k, v := range b.ExtraHosts {
		t.ExtraHosts[k] = ptr(strings.Join(v, ","))
	}
	for _, n := range slices.Sorted(maps.Keys(b.Ulimits)) {
		u := b.Ulimits[n]
		l, err := units.ParseUlimit(fmt.Sprintf("%s=%d:%d", n, u.Soft, u.Hard))
		if err != nil {
			return nil, err
		}
		t.Ulimits = append(t.Ulimits, l.String())
	}
	args := b.Args.Resolve(func(k string) (string, bool) {
		if v, ok := s.Environment[k]; ok && v != nil {
			return *v, true
		}
		v, ok := project.Environment[k]
		return v, ok
	})
	t.Args = overlay(nil, args)
	if err := t.composeEntries(project, b); err != nil {
		return nil, err
	}
	if err := t.composeExtension(b.Extensions["x-bake"]); err != nil {
		return nil, fmt.Errorf("x-bake: %w", err)
	}
	if len(t.Tags) == 0 && s.Image != "" {
		t.Tags = []string{s.Image}
	}
	return t, nil
}

func (t *Target) composeEntries(project *types.Project, b *types.BuildConfig) (err error) {
	for _, k := range b.SSH {
		t.SSH = append(t.SSH, Entry{"id": k.ID, "paths": k.Path}.compact())
	}
	t.sortSSH()
	for _, s := range b.Secrets {
		from := project.Secrets[s.Source]
		if from.External {
			return fmt.Errorf("the secret %q is external, which no build can read", from.Name)
		}
		t.Secrets = append(t.Secrets, Entry{"id": s.Source, "src": from.File, "env": from.Environment}.compact())
	}
	if t.CacheFrom, err = parseSome(b.CacheFrom, parseCache); err != nil {
		return err
	}
	if t.CacheTo, err = parseSome(b.CacheTo, parseCache); err != nil {
		return err
	}
	for _, a := range []struct{ typ, value string }{{"sbom", b.SBOM}, {"provenance", b.Provenance}} {
		if a.value == "" {
			continue
		}
		text := "type=" + a.typ + "," + a.value
		if on, err := strconv.ParseBool(a.value); err == nil {
			text = fmt.Sprintf("type=%s,disabled=%t", a.typ, !on)
		}
		e, err := parseAttest(text)
		if err != nil {
			return err
		}
		t.Attest = append(t.Attest, e)
	}
	return nil
}

// parseSome is parseList that keeps nil for none: an empty list would replace
// what it is merged into.
func parseSome(list []string, parse func(string) ([]Entry, error)) ([]Entry, error) {
	if len(list) == 0 {
		return nil, nil
	}
	return parseList(list, parse)
}

func (t *Target) sortSSH() {
	slices.SortFunc(t.SSH, func(a, b Entry) int {
		if n := strings.Compare(a["id"], b["id"]); n != 0 {
			return n
		}
		return slices.Compare(strings.Split(a["paths"], ","), strings.Split(b["paths"], ","))
	})
}

func composeContexts(in map[string]string) map[string]string {
	if in == nil {
		return nil
	}
	out := map[string]string{}
	for k, v := range in {
		if kind, name, _ := strings.Cut(v, ":"); kind == "service" || kind == "target" {
			v = "target:" + strings.ReplaceAll(name, ".", "_")
		}
		out[k] = v
	}
	return out
}

// extension is x-bake of a build section: what compose has no field for.
type extension struct {
	Tags          words             `yaml:"tags,omitempty"`
	CacheFrom     words             `yaml:"cache-from,omitempty"`
	CacheTo       words             `yaml:"cache-to,omitempty"`
	Secrets       words             `yaml:"secret,omitempty"`
	SSH           words             `yaml:"ssh,omitempty"`
	Platforms     words             `yaml:"platforms,omitempty"`
	Outputs       words             `yaml:"output,omitempty"`
	Pull          *bool             `yaml:"pull,omitempty"`
	NoCache       *bool             `yaml:"no-cache,omitempty"`
	NoCacheFilter words             `yaml:"no-cache-filter,omitempty"`
	Contexts      map[string]string `yaml:"contexts,omitempty"`
}

// words are a list, or one string of words.
type words []string

// UnmarshalYAML reads either form.
func (w *words) UnmarshalYAML(unmarshal func(any) error) error {
	var list []string
	if unmarshal(&list) == nil {
		*w = list
		return nil
	}
	var one string
	if err := unmarshal(&one); err != nil {
		return err
	}
	*w = strings.Fields(one)
	return nil
}

func (t *Target) composeExtension(raw any) error {
	if raw == nil {
		return nil
	}
	data, err := yaml.Marshal(raw)
	if err != nil {
		return err
	}
	var x extension
	if err := yaml.Unmarshal(data, &x); err != nil {
		return err
	}
	for _, l := range []struct {
		dst *[]string
		add words
	}{{&t.Tags, x.Tags}, {&t.Platforms, x.Platforms}, {&t.NoCacheFilter, x.NoCacheFilter}} {
		if len(l.add) > 0 {
			*l.dst = uniqueStrings(append(*l.dst, l.add...))
		}
	}
	for _, l := range []struct {
		dst   *[]Entry
		add   words
		parse func(string) ([]Entry, error)
		dedup func([]Entry) []Entry
	}{
		{(*[]Entry)(&t.CacheFrom), x.CacheFrom, parseCache, distinct[[]Entry]},
		{(*[]Entry)(&t.CacheTo), x.CacheTo, parseCache, distinct[[]Entry]},
		{(*[]Entry)(&t.Outputs), x.Outputs, one(parseOutput), distinct[[]Entry]},
		{(*[]Entry)(&t.Secrets), x.Secrets, one(parseSecret), byID},
		{(*[]Entry)(&t.SSH), x.SSH, one(parseSSH), byID},
	} {
		if len(l.add) == 0 {
			continue
		}
		es, err := parseList(l.add, l.parse)
		if err != nil {
			return err
		}
		*l.dst = l.dedup(append(*l.dst, es...))
	}
	t.sortSSH()
	replace(&t.Pull, x.Pull)
	replace(&t.NoCache, x.NoCache)
	for k, v := range composeContexts(x.Contexts) {
		if t.Contexts == nil {
			t.Contexts = map[string]string{}
		}
		if _, ok := t.Contexts[k]; !ok {
			t.Contexts[k] = v
		}
	}
	return nil
}

func byID(es []Entry) []Entry { return byKey(es, "id") }
