package config

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
)

// Bake is the form of `docker buildx bake --print`.
type Bake struct {
	Group  map[string]*Group  `json:"group,omitempty"`
	Target map[string]*Target `json:"target"`
}

// Bake gives the selection as bake prints it, and refuses what bake refuses
// before it prints: platforms, annotations, limits, outputs, secrets and SSH
// keys that cannot be. The function remote reports whether a context is an URL or a git reference.
func (c *Config) Bake(s *Selection, remote func(string) bool) (*Bake, hcl.Diagnostics) {
	out := &Bake{Group: s.Groups, Target: map[string]*Target{}}
	var diags hcl.Diagnostics
	for _, name := range s.Order {
		t := *s.Targets[name]
		out.Target[name] = &t
		if v, ok := c.lookup("SOURCE_DATE_EPOCH"); ok && v != "" {
			if _, ok := t.Args["SOURCE_DATE_EPOCH"]; !ok {
				t.Args = overlay(t.Args, map[string]*string{"SOURCE_DATE_EPOCH": &v})
			}
		}
		fail := func(attr, value string, err error) {
			if err == nil {
				return
			}
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Invalid " + attr,
				Detail: fmt.Sprintf("Target %q: %s", name, lowerFirst(Sentence(err))), Subject: s.Targets[name].Where(attr, value),
			})
		}
		if *t.Context == "-" {
			fail("context", "", errors.New("a context from standard input is not allowed"))
		}
		if *t.Dockerfile == "-" {
			fail("dockerfile", "", errors.New("a Dockerfile from standard input is not allowed"))
		}
		for _, list := range t.Platforms {
			for _, p := range strings.Split(list, ",") {
				if _, err := platforms.Parse(p); err != nil && !strings.EqualFold(p, "local") {
					fail("platforms", list, fmt.Errorf("%q is no platform%s", p, suggestPlatform(p)))
				}
			}
		}
		for _, a := range t.Annotations {
			_, err := ParseAnnotation(a)
			fail("annotations", a, err)
		}
		if v := t.ShmSize; v != nil {
			if _, err := units.RAMInBytes(*v); err != nil {
				fail("shm-size", "", fmt.Errorf("%q is no size such as \"128m\"", *v))
			}
		}
		for _, u := range t.Ulimits {
			if _, err := units.ParseUlimit(u); err != nil {
				fail("ulimits", u, fmt.Errorf("ulimit %q: %w", u, err))
			}
		}
		fail("resources", "", t.Resources.check())
		for _, base := range t.Bases() {
			// Bake compares the words, so that linux/arm64 lacks linux/arm64/v8.
			has := s.Targets[base].Platforms
			for _, p := range t.Platforms {
				if len(t.Platforms) > 1 && len(has) > 1 && !slices.Contains(has, p) {
					fail("contexts", "", fmt.Errorf("it builds on target %q for %s, which is built only for %s", base, p, strings.Join(has, ", ")))
				}
			}
		}
		var err error
		t.Outputs, err = c.Outputs(t.Outputs)
		fail("output", "", err)
		fail("secret", "", c.secretsThere(t.Secrets))
		fail("ssh", "", c.keysThere(t.SSH))
		t.Context = ptr(cleanContext(*t.Context, remote))
	}
	return out, diags
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// cleanContext is the context as bake hands it to the build.
func cleanContext(c string, remote func(string) bool) string {
	if rest, ok := strings.CutPrefix(c, "cwd://"); ok {
		return path.Clean(rest)
	}
	if remote(c) {
		return c
	}
	return path.Clean(c)
}

func (c *Config) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

// Outputs checks where files go, and names standard output where bake does.
func (c *Config) Outputs(list Outputs) (Outputs, error) {
	out := slices.Clone(list)
	stdout := false
	for i, e := range out {
		dir, file := e["type"] == "local", e["type"] == "tar"
		if e["type"] == "oci" || e["type"] == "docker" {
			tar, err := strconv.ParseBool(e["tar"])
			file = err != nil || tar
			dir = !file
		}
		dest := e["dest"]
		if file && dest == "" && e["type"] != "docker" {
			dest = "-"
			e = e.without()
			e["dest"] = dest
			out[i] = e
		}
		switch {
		case !dir && !file:
		case dir && dest == "":
			return nil, fmt.Errorf("type=%s needs the directory: dest=DIR", e["type"])
		case dir && dest == "-":
			return nil, fmt.Errorf("type=%s writes a directory, which standard output cannot be", e["type"])
		case file && dest == "-":
			if stdout {
				return nil, errors.New("two outputs write to standard output")
			}
			stdout = true
		case dest != "":
			info, err := os.Stat(c.path(dest))
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("dest %q: %w", dest, unwrapPath(err))
			}
			if info.IsDir() != dir {
				return nil, fmt.Errorf("dest %q is a %s, and type=%s writes a %s", dest, fileOrDir(info.IsDir()), e["type"], fileOrDir(dir))
			}
		}
	}
	return out, nil
}

func fileOrDir(dir bool) string {
	if dir {
		return "directory"
	}
	return "file"
}

// maxSecret is what BuildKit takes: 500 KiB.
const maxSecret = 500 * 1024

func (c *Config) secretsThere(list Secrets) error {
	for _, e := range list {
		id, src, env := e["id"], e["src"], e["env"]
		if src == "" && env == "" {
			if _, ok := c.lookup(id); !ok {
				src = id
			}
		}
		if id == "" {
			return errors.New("a secret has no id")
		}
		if env != "" || src == "" {
			continue
		}
		info, err := os.Stat(c.path(src))
		if err != nil {
			return fmt.Errorf("the secret %q: the file %q: %w", id, src, unwrapPath(err))
		}
		if info.Size() > maxSecret {
			return fmt.Errorf("the secret %q has %d bytes; BuildKit takes up to %d", id, info.Size(), maxSecret)
		}
	}
	return nil
}

func (c *Config) keysThere(list SSH) error {
	seen := map[string]bool{}
	for _, e := range list {
		id := e["id"]
		if id == "" {
			id = "default"
		}
		if seen[id] {
			return fmt.Errorf("the id %q stands twice", id)
		}
		seen[id] = true
		if e["paths"] == "" {
			if v, _ := c.lookup("SSH_AUTH_SOCK"); v == "" {
				return fmt.Errorf("%q has no paths, and SSH_AUTH_SOCK names no agent", id)
			}
			continue
		}
		for _, p := range strings.Split(e["paths"], ",") {
			if p == "" {
				continue
			}
			info, err := os.Stat(c.path(p))
			if err != nil {
				return fmt.Errorf("%q: the file %q: %w", id, p, unwrapPath(err))
			}
			if info.Mode()&os.ModeSocket != 0 {
				continue
			}
			data, err := os.ReadFile(c.path(p))
			if err != nil {
				return fmt.Errorf("%q: the file %q: %w", id, p, unwrapPath(err))
			}
			if key, _ := pem.Decode(data); key == nil {
				return fmt.Errorf("%q: the file %q is neither a private key nor an agent's socket", id, p)
			}
		}
	}
	return nil
}

func (r Resources) check() error {
	for _, k := range []string{"memory", "memory-swap"} {
		v, ok := r[k]
		if !ok || (k == "memory-swap" && v == "-1") {
			continue
		}
		if _, err := units.RAMInBytes(v); err != nil {
			return fmt.Errorf("resources: %s %q is no size such as \"1g\"", k, v)
		}
	}
	return nil
}

// MarshalJSON escapes what HCL would take for a template, as bake does, so
// that the output can be read back as a bake file.
func (t *Target) MarshalJSON() ([]byte, error) {
	type plain Target
	c := plain(*t)
	esc := strings.NewReplacer("${", "$${", "%{", "%%{").Replace
	c.Annotations = slices.Clone(t.Annotations)
	for i, a := range c.Annotations {
		c.Annotations[i] = esc(a)
	}
	if t.DockerfileInline != nil {
		c.DockerfileInline = ptr(esc(*t.DockerfileInline))
	}
	for _, m := range []*map[string]*string{&c.Args, &c.Labels, &c.ExtraHosts} {
		*m = maps.Clone(*m)
		for k, v := range *m {
			if v != nil {
				(*m)[k] = ptr(esc(*v))
			}
		}
	}
	return json.Marshal(c)
}
