package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// override is what `-set` says of one key of one target.
type override struct {
	value         string
	list          []string
	append, clear bool
}

// overrides are by target and key. Grammar and meaning are bake's, see
// https://docs.docker.com/build/bake/overrides/.
type overrides map[string]map[string]override

var overrideAliases = map[string]string{
	"annotations": "annotation", "args": "arg", "entitlements": "entitlement", "extra-hosts": "extra-host", "labels": "label",
	"platforms": "platform", "resources": "resource", "tags": "tag", "ulimits": "ulimit", "secrets": "secret",
}

// parseOverrides reads PATTERN.KEY[.NAME][+]=VALUE.
func (c *Config) parseOverrides(texts []string) (overrides, error) {
	out := overrides{}
	for _, text := range texts {
		left, value, hasValue := strings.Cut(text, "=")
		key := strings.TrimSuffix(left, "+")
		add := key != left
		keys := strings.SplitN(key, ".", 3)
		if len(keys) < 2 {
			return nil, fmt.Errorf("%q is not of the form target.key=value, such as app.args.VERSION=2 or *.platform=linux/arm64", text)
		}
		if alias, ok := overrideAliases[keys[1]]; ok {
			if keys[1] == "secrets" && len(keys) != 2 {
				return nil, fmt.Errorf("%q: write secret.ID=value for one secret", text)
			}
			keys[1] = alias
		}
		if !hasValue && keys[1] != "arg" {
			return nil, fmt.Errorf("%q has no value: write %s=value", text, key)
		}
		names, err := c.overridden(keys[0])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		for _, name := range names {
			if out[name] == nil {
				out[name] = map[string]override{}
			}
			full := strings.Join(keys[1:], ".")
			o, keep, err := c.parseOverride(out[name][full], keys[1:], value, hasValue, add)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", text, err)
			}
			if keep {
				out[name][full] = o
			}
		}
	}
	return out, nil
}

func (c *Config) overridden(pattern string) ([]string, error) {
	if c.target(pattern) != nil {
		return []string{pattern}, nil
	}
	var out, all []string
	for _, t := range c.Targets {
		all = append(all, t.Name)
		ok, err := path.Match(pattern, t.Name)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q is malformed: %w", pattern, err)
		}
		if ok {
			out = append(out, t.Name)
		}
	}
	if len(out) == 0 {
		if near := nearest(pattern, all); near != "" {
			return nil, fmt.Errorf("no target matches %q; did you mean %q?", pattern, near)
		}
		return nil, fmt.Errorf("no target matches %q; there are: %s", pattern, strings.Join(all, ", "))
	}
	return out, nil
}

func (c *Config) parseOverride(o override, keys []string, value string, hasValue, add bool) (override, bool, error) {
	setList := func() {
		if !add && value == "" {
			o.clear, o.list = true, nil
		} else {
			o.list = append(o.list, value)
		}
		o.append = add && !o.clear
	}
	want := func(n int, form string) error {
		if len(keys) != n {
			return fmt.Errorf("write it as target.%s=value", form)
		}
		return nil
	}
	switch keys[0] {
	case "output", "cache-to", "cache-from", "tag", "platform", "ssh", "attest", "entitlement", "annotation", "policy", "ulimit", "no-cache-filter":
		if err := want(1, keys[0]); err != nil {
			return o, false, err
		}
		setList()
	case "secret":
		if len(keys) == 1 {
			setList()
			break
		}
		if add {
			return o, false, errors.New("one secret cannot be appended to")
		}
		o.value = value
	case "resource":
		if err := want(2, "resource.NAME"); err != nil {
			return o, false, err
		}
		if add {
			return o, false, errors.New("a resource cannot be appended to")
		}
		o.value = value
	case "arg":
		if err := want(2, "args.NAME"); err != nil {
			return o, false, err
		}
		if !hasValue {
			v, ok := c.lookup(keys[1])
			if !ok {
				return o, false, nil
			}
			value = v
		}
		o.value = value
	case "contexts", "label", "extra-host":
		if err := want(2, keys[0]+".NAME"); err != nil {
			return o, false, err
		}
		o.value = value
	case "context", "dockerfile", "target", "call", "no-cache", "shm-size", "network", "pull", "push", "load":
		if err := want(1, keys[0]); err != nil {
			return o, false, err
		}
		o.value = value
	default:
		o.value = value
	}
	return o, true, nil
}

// apply lays the overrides over a target. Keys are taken in order, push and
// load last, since they judge the outputs.
func (t *Target) apply(overrides map[string]override) error {
	keys := slices.Sorted(maps.Keys(overrides))
	slices.SortStableFunc(keys, func(a, b string) int {
		late := func(k string) int { return boolRank(k == "push" || k == "load" || strings.HasPrefix(k, "secret.")) }
		return late(a) - late(b)
	})
	for _, key := range keys {
		head, name, _ := strings.Cut(key, ".")
		if err := t.applyOne(head, name, overrides[key]); err != nil {
			return fmt.Errorf("-set %s.%s: %w", t.Name, key, err)
		}
	}
	return nil
}

func (t *Target) applyOne(head, name string, o override) error {
	switch head {
	case "context":
		t.Context = &o.value
	case "dockerfile":
		t.Dockerfile = &o.value
	case "target":
		t.Target = &o.value
	case "call":
		t.Call = &o.value
	case "network":
		t.Network = &o.value
	case "shm-size":
		t.ShmSize = &o.value
	case "arg":
		t.Args = overlay(t.Args, map[string]*string{name: &o.value})
	case "label":
		t.Labels = overlay(t.Labels, map[string]*string{name: &o.value})
	case "extra-host":
		t.ExtraHosts = overlay(t.ExtraHosts, map[string]*string{name: &o.value})
	case "contexts":
		t.Contexts = merged(t.Contexts, map[string]string{name: o.value})
	case "resource":
		r := merged(t.Resources, Resources{})
		if r = maps.Clone(r); r == nil {
			r = Resources{}
		}
		t.Resources = r
		return r.set(name, o.value)
	case "tag":
		t.Tags = o.strings(t.Tags)
	case "platform":
		t.Platforms = o.strings(t.Platforms)
	case "no-cache-filter":
		t.NoCacheFilter = o.strings(t.NoCacheFilter)
	case "ulimit":
		t.Ulimits = o.strings(t.Ulimits)
	case "entitlement":
		t.Entitlements = o.added(t.Entitlements)
	case "annotation":
		t.Annotations = o.added(t.Annotations)
	case "no-cache":
		return parseBool(&t.NoCache, o.value)
	case "pull":
		return parseBool(&t.Pull, o.value)
	case "push", "load":
		var on *bool
		if err := parseBool(&on, o.value); err != nil {
			return err
		}
		if head == "push" {
			t.Outputs = t.Outputs.push(*on)
		} else if *on {
			t.Outputs = t.Outputs.load()
		}
	default:
		return t.applyEntries(head, name, o)
	}
	return nil
}

func (t *Target) applyEntries(head, name string, o override) (err error) {
	switch head {
	case "cache-from", "cache-to":
		caches, err := parseList(o.list, parseCache)
		if err != nil {
			return err
		}
		dst := &t.CacheFrom
		if head == "cache-to" {
			dst = &t.CacheTo
		}
		if o.append {
			caches = distinct(append(slices.Clone(*dst), caches...))
		}
		*dst = caches
	case "output":
		outputs, err := parseList(o.list, one(parseOutput))
		if err != nil {
			return err
		}
		if o.append {
			outputs = distinct(append(slices.Clone(t.Outputs), outputs...))
		}
		t.Outputs = outputs
	case "ssh":
		keys, err := parseList(o.list, one(parseSSH))
		if err != nil {
			return err
		}
		if o.append {
			keys = byKey(append(slices.Clone(t.SSH), keys...), "id")
		}
		t.SSH = keys
	case "attest":
		attests, err := parseList(o.list, one(parseAttest))
		if err != nil {
			return err
		}
		if o.clear {
			t.Attest = nil
		}
		t.Attest = byKey(append(slices.Clone(t.Attest), attests...), "type")
	case "policy":
		if !o.append {
			t.Policy = nil
		}
		for _, s := range o.list {
			p, err := parsePolicy(s)
			if err != nil {
				return err
			}
			t.Policy = append(t.Policy[:len(t.Policy):len(t.Policy)], p)
		}
	case "secret":
		if name != "" {
			return t.replaceSecret(name, o.value)
		}
		secrets, err := parseList(o.list, one(parseSecret))
		if err != nil {
			return err
		}
		if o.append {
			secrets = byKey(append(slices.Clone(t.Secrets), secrets...), "id")
		}
		t.Secrets = secrets
	default:
		return fmt.Errorf("the key %q is unknown%s", head, suggestKey(head))
	}
	return err
}

func (t *Target) replaceSecret(id, value string) error {
	next, err := parseSecret(value)
	if err != nil {
		return err
	}
	if next["id"] != "" && next["id"] != id {
		return fmt.Errorf("the secret %q does not become %q", id, next["id"])
	}
	i := slices.IndexFunc(t.Secrets, func(e Entry) bool { return e["id"] == id })
	if i < 0 {
		return fmt.Errorf("the target has no secret %q to override", id)
	}
	next["id"] = id
	t.Secrets = slices.Clone(t.Secrets)
	t.Secrets[i] = next
	return nil
}

func suggestKey(key string) string {
	known := []string{
		"annotations", "args", "attest", "cache-from", "cache-to", "call", "context", "contexts", "dockerfile", "entitlements", "extra-hosts", "labels",
		"load", "network", "no-cache", "no-cache-filter", "output", "platform", "policy", "pull", "push", "resources", "secret", "shm-size", "ssh", "tags", "target", "ulimits",
	}
	if near := nearest(key, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; there are: " + strings.Join(known, ", ")
}

func (o override) strings(had []string) []string {
	if o.append {
		return append(slices.Clone(had), o.list...)
	}
	return o.list
}

// added appends even without a plus, as bake does for these.
func (o override) added(had []string) []string {
	if o.clear {
		had = nil
	}
	return append(slices.Clone(had), o.list...)
}

func parseBool(dst **bool, s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", s)
	}
	*dst = &b
	return nil
}

// push gives the outputs as `bake --push` has them: an image that is pushed,
// unless another output than docker stands there.
func (o Outputs) push(on bool) Outputs {
	var out Outputs
	for _, e := range o {
		if !on && e["type"] == "registry" {
			continue
		}
		if e["type"] == "image" {
			e = e.without()
			e["push"] = strconv.FormatBool(on)
		}
		out = append(out, e)
	}
	if on && !slices.ContainsFunc(o, func(e Entry) bool { return e["type"] != "docker" }) {
		out = append(out, Entry{"type": "image", "push": "true"})
	}
	return out
}

// load gives the outputs as `bake --load` has them.
func (o Outputs) load() Outputs {
	for _, e := range o {
		switch e["type"] {
		case "docker":
			if e["dest"] == "" {
				return o
			}
		case "image", "registry", "oci":
		default:
			return o
		}
	}
	return append(o[:len(o):len(o)], Entry{"type": "docker"})
}
