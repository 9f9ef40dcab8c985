package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Entry is one element of bake's attest, cache-from, cache-to, output, secret
// or ssh: its keys and values, whether written as CSV or as an object.
// See https://docs.docker.com/build/bake/reference/. How it is read, merged and
// printed follows https://github.com/docker/buildx/tree/v0.38.2/util/buildflags,
// which cannot be imported without the policy engine behind it.
type Entry map[string]string

// String gives the CSV form, keys sorted behind type.
func (e Entry) String() string {
	keys := slices.Sorted(maps.Keys(e))
	slices.SortStableFunc(keys, func(a, b string) int {
		return boolRank(b == "type") - boolRank(a == "type")
	})
	fields := make([]string, len(keys))
	for i, k := range keys {
		f := k + "=" + e[k]
		if strings.ContainsAny(f, ",\"") {
			f = `"` + strings.ReplaceAll(f, `"`, `""`) + `"`
		}
		fields[i] = f
	}
	return strings.Join(fields, ",")
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// without returns a copy of e that lacks the keys.
func (e Entry) without(keys ...string) Entry {
	c := maps.Clone(e)
	for _, k := range keys {
		delete(c, k)
	}
	return c
}

// Attests are `attest` entries: type, disabled and the attestation's own keys.
type Attests []Entry

// Caches are `cache-from` or `cache-to` entries.
type Caches []Entry

// Outputs are `output` entries.
type Outputs []Entry

// Secrets are `secret` entries: id, and src or env.
type Secrets []Entry

// SSH are `ssh` entries: id, and paths of keys or sockets joined by commas.
type SSH []Entry

// FromCtyValue reads a list of CSV strings and objects.
func (a *Attests) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*a, err = entries(in, p, one(parseAttest), func(v cty.Value) (Entry, error) {
		e, err := stringMap(v)
		if err != nil {
			return nil, err
		}
		return e, e.normalizeDisabled()
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.attest.
func (a Attests) ToCtyValue() cty.Value { return entriesValue(a) }

func parseAttest(s string) (Entry, error) {
	e, err := csvEntry(s, func(k string) string {
		if low := strings.TrimSpace(strings.ToLower(k)); low == "type" || low == "disabled" {
			return low
		}
		return k
	})
	if err == nil && e["type"] == "" {
		err = fmt.Errorf("attestation %q names no type: write type=provenance or type=sbom", s)
	}
	if err != nil {
		return nil, err
	}
	return e, e.normalizeDisabled()
}

func (e Entry) normalizeDisabled() error {
	v, ok := e["disabled"]
	if !ok {
		return nil
	}
	off, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("disabled=%s: write true or false", v)
	}
	delete(e, "disabled")
	if off {
		e["disabled"] = "true"
	}
	return nil
}

// FromCtyValue reads a list of CSV strings and objects; a bare reference means
// type=registry.
func (c *Caches) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*c, err = entries(in, p, parseCache, func(v cty.Value) (Entry, error) {
		e, err := stringMap(v)
		if err == nil && e["type"] == "" {
			err = fmt.Errorf("the cache names no type: write type = \"registry\" or type = \"local\"")
		}
		return e, err
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.cache-from.
func (c Caches) ToCtyValue() cty.Value { return entriesValue(c) }

// parseCache reads key=value pairs, or references alone, each of which is a cache.
func parseCache(s string) ([]Entry, error) {
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %q as CSV: %w", s, err)
	}
	var out []Entry
	if !strings.Contains(s, "=") {
		for _, f := range fields {
			out = append(out, Entry{"type": "registry", "ref": f})
		}
		return out, nil
	}
	e, err := csvEntry(s, strings.ToLower)
	if err == nil && e["type"] == "" {
		err = fmt.Errorf("cache %q names no type: write type=registry,ref=… or type=local,…", s)
	}
	return []Entry{e}, err
}

// FromCtyValue reads a list of CSV strings and objects; a bare string means
// type=local,dest=….
func (o *Outputs) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*o, err = entries(in, p, one(parseOutput), func(v cty.Value) (Entry, error) {
		e, err := stringMap(v)
		if err == nil && e["type"] == "" {
			err = fmt.Errorf("the output names no type: write type = \"image\" or type = \"local\"")
		}
		if err == nil && e["dest"] == "" {
			delete(e, "dest")
		}
		return e, err
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.output.
func (o Outputs) ToCtyValue() cty.Value { return entriesValue(o) }

func parseOutput(s string) (Entry, error) {
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %q as CSV: %w", s, err)
	}
	if len(fields) == 1 && fields[0] == s && !strings.HasPrefix(s, "type=") {
		if s == "-" {
			return Entry{"type": "tar", "dest": "-"}, nil
		}
		return Entry{"type": "local", "dest": s}, nil
	}
	e, err := csvEntry(s, func(k string) string { return strings.TrimSpace(strings.ToLower(k)) })
	if err == nil && e["type"] == "" {
		err = fmt.Errorf("output %q names no type: write type=image or type=local", s)
	}
	if err == nil && e["dest"] == "" {
		delete(e, "dest")
	}
	return e, err
}

// FromCtyValue reads a list of CSV strings and objects.
func (s *Secrets) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*s, err = entries(in, p, one(parseSecret), func(v cty.Value) (Entry, error) {
		return fields(v, "id", "src", "env")
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.secret.
func (s Secrets) ToCtyValue() cty.Value { return entriesValue(s) }

func parseSecret(s string) (Entry, error) {
	e, err := csvEntry(s, strings.ToLower)
	if err != nil {
		return nil, err
	}
	if v, ok := e["source"]; ok {
		delete(e, "source")
		e["src"] = v
	}
	for _, k := range slices.Sorted(maps.Keys(e)) {
		if !slices.Contains([]string{"type", "id", "src", "env"}, k) {
			return nil, fmt.Errorf("secret %q has the unknown key %q: it takes id, src, env and type", s, k)
		}
	}
	typ := e["type"]
	if _, ok := e["type"]; ok && typ != "file" && typ != "env" {
		return nil, fmt.Errorf("secret %q has the unknown type %q: write type=file or type=env", s, typ)
	}
	delete(e, "type")
	if typ == "env" && e["env"] == "" {
		e["env"] = e["src"]
		delete(e, "src")
	}
	return e.compact(), nil
}

// FromCtyValue reads a list of `id[=path,…]` strings and objects.
func (s *SSH) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*s, err = entries(in, p, one(parseSSH), func(v cty.Value) (Entry, error) {
		e, err := fields(v, "id")
		if err != nil || !v.Type().IsObjectType() || !v.Type().HasAttribute("paths") {
			return e, err
		}
		paths := v.GetAttr("paths")
		if paths.IsNull() || !paths.IsKnown() {
			return e, nil
		}
		list, err := convert.Convert(paths, cty.List(cty.String))
		if err != nil {
			return nil, err
		}
		var all []string
		for _, v := range list.AsValueSlice() {
			if v.IsNull() {
				return nil, fmt.Errorf("a path is null")
			}
			all = append(all, v.AsString())
		}
		if len(all) > 0 {
			e["paths"] = strings.Join(all, ",")
		}
		return e, nil
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.ssh.
func (s SSH) ToCtyValue() cty.Value { return entriesValue(s) }

func parseSSH(s string) (Entry, error) {
	id, paths, _ := strings.Cut(s, "=")
	return Entry{"id": id, "paths": paths}.compact(), nil
}

// MarshalJSON gives bake's --print form, where paths is a list.
func (s SSH) MarshalJSON() ([]byte, error) {
	out := make([]map[string]any, len(s))
	for i, e := range s {
		m := map[string]any{}
		if id := e["id"]; id != "" {
			m["id"] = id
		}
		if p := e["paths"]; p != "" {
			m["paths"] = strings.Split(p, ",")
		}
		out[i] = m
	}
	return json.Marshal(out)
}

// MarshalJSON gives bake's --print form, where disabled is a bool.
func (a Attests) MarshalJSON() ([]byte, error) {
	out := make([]map[string]any, len(a))
	for i, e := range a {
		m := map[string]any{"type": e["type"]}
		for k, v := range e {
			m[k] = v
		}
		if _, ok := e["disabled"]; ok {
			m["disabled"] = true
		}
		out[i] = m
	}
	return json.Marshal(out)
}

// one makes a parser of one entry one of several.
func one(parse func(string) (Entry, error)) func(string) ([]Entry, error) {
	return func(s string) ([]Entry, error) {
		e, err := parse(s)
		return []Entry{e}, err
	}
}

// parseList reads the values of an override.
func parseList(list []string, parse func(string) ([]Entry, error)) ([]Entry, error) {
	out := []Entry{}
	for _, s := range list {
		if s == "" {
			continue
		}
		es, err := parse(s)
		if err != nil {
			return nil, err
		}
		out = append(out, es...)
	}
	return out, nil
}

// entries reads a list whose elements are strings, which parse understands, or
// objects, which object does. Empty strings are dropped: they come from
// conditionals.
func entries(in cty.Value, p cty.Path, parse func(string) ([]Entry, error), object func(cty.Value) (Entry, error)) ([]Entry, error) {
	if ty := in.Type(); !ty.IsTupleType() && !ty.IsListType() {
		return nil, p.NewErrorf("a list is required, of strings such as \"type=…\" or of objects")
	}
	if in.IsNull() {
		return nil, p.NewErrorf("a list is required, not null")
	}
	out := []Entry{}
	if !in.IsKnown() {
		return out, nil
	}
	for i, v := range in.AsValueSlice() {
		ip := p.IndexInt(i)
		if !v.IsKnown() {
			continue
		}
		if v.IsNull() {
			return nil, ip.NewErrorf("an element is null; write \"\" for none")
		}
		if v.Type() == cty.String {
			if v.AsString() == "" {
				continue
			}
			es, err := parse(v.AsString())
			if err != nil {
				return nil, ip.NewError(err)
			}
			out = append(out, es...)
			continue
		}
		if !v.Type().IsObjectType() && !v.Type().IsMapType() {
			return nil, ip.NewErrorf("a string such as \"type=…\" or an object is required")
		}
		e, err := object(v)
		if err != nil {
			return nil, ip.NewError(err)
		}
		out = append(out, e)
	}
	return out, nil
}

// stringMap takes an object of strings, numbers and bools.
func stringMap(v cty.Value) (Entry, error) {
	m, err := convert.Convert(v, cty.Map(cty.String))
	if err != nil {
		return nil, err
	}
	e := Entry{}
	for k, v := range m.AsValueMap() {
		switch {
		case !v.IsKnown():
		case v.IsNull():
			return nil, fmt.Errorf("%s is null", k)
		default:
			e[k] = v.AsString()
		}
	}
	return e, nil
}

// fields takes the named attributes of an object and passes over the others.
func fields(v cty.Value, names ...string) (Entry, error) {
	e := Entry{}
	for k, v := range v.AsValueMap() {
		if !slices.Contains(names, k) || v.IsNull() || !v.IsKnown() {
			continue
		}
		s, err := convert.Convert(v, cty.String)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		e[k] = s.AsString()
	}
	return e.compact(), nil
}

func (e Entry) compact() Entry {
	maps.DeleteFunc(e, func(_, v string) bool { return v == "" })
	return e
}

// entriesValue has the same type whatever the entries are: hclparser derives
// the type of a target from an empty one.
func entriesValue[E ~[]Entry](es E) cty.Value {
	if len(es) == 0 {
		return cty.ListValEmpty(cty.Map(cty.String))
	}
	vals := make([]cty.Value, len(es))
	for i, e := range es {
		m := map[string]cty.Value{}
		for k, v := range e {
			m[k] = cty.StringVal(v)
		}
		vals[i] = cty.MapValEmpty(cty.String)
		if len(m) > 0 {
			vals[i] = cty.MapVal(m)
		}
	}
	return cty.ListVal(vals)
}

func csvEntry(s string, key func(string) string) (Entry, error) {
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %q as CSV: %w", s, err)
	}
	e := Entry{}
	for _, f := range fields {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%q in %q is not key=value", f, s)
		}
		e[key(k)] = v
	}
	return e, nil
}

// byKey drops entries whose key came before; the later value stands in the
// earlier place, as bake has it for attest, secret and ssh.
func byKey[E ~[]Entry](es E, key string) E {
	if len(es) == 0 {
		return nil
	}
	at := map[string]int{}
	out := E{}
	for _, e := range es {
		if i, ok := at[e[key]]; ok {
			out[i] = e
			continue
		}
		at[e[key]] = len(out)
		out = append(out, e)
	}
	return out
}

// distinct drops equal entries in the order in which bake does it for caches
// and outputs: the last one takes the place of the repetition.
func distinct[E ~[]Entry](es E) E {
	if len(es) == 0 {
		return nil
	}
	s := slices.Clone(es)
	for i := len(s) - 2; i >= 0; i-- {
		for j := i + 1; j < len(s); j++ {
			if maps.Equal(s[i], s[j]) {
				s[j] = s[len(s)-1]
				s = s[:len(s)-1]
				break
			}
		}
	}
	return s
}
