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
// See https://docs.docker.com/build/bake/reference/.
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

// Policies are `policy` entries. They are read so that they can be refused by
// name: no source policy is evaluated here.
type Policies []Entry

// FromCtyValue reads a list of CSV strings and objects.
func (o *Policies) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*o, err = entries(in, p, csvEntry)
	return err
}

// ToCtyValue gives the entries for references such as target.app.policy.
func (o Policies) ToCtyValue() cty.Value { return entriesValue(o) }

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
	*a, err = entries(in, p, func(s string) (Entry, error) {
		e, err := csvEntry(s)
		if err == nil && e["type"] == "" {
			err = fmt.Errorf("attestation %q names no type: write type=provenance or type=sbom", s)
		}
		return e, err
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.attest.
func (a Attests) ToCtyValue() cty.Value { return entriesValue(a) }

// FromCtyValue reads a list of CSV strings and objects; a bare reference means
// type=registry.
func (c *Caches) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*c, err = entries(in, p, func(s string) (Entry, error) {
		if s != "" && !strings.ContainsAny(s, "=,") {
			return Entry{"type": "registry", "ref": s}, nil
		}
		e, err := csvEntry(s)
		if err == nil && e["type"] == "" {
			err = fmt.Errorf("cache %q names no type: write type=registry,ref=… or type=local,…", s)
		}
		return e, err
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.cache-from.
func (c Caches) ToCtyValue() cty.Value { return entriesValue(c) }

// FromCtyValue reads a list of CSV strings and objects; a bare string means
// type=local,dest=….
func (o *Outputs) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*o, err = entries(in, p, func(s string) (Entry, error) {
		if s != "" && !strings.ContainsAny(s, "=,") {
			if s == "-" {
				return Entry{"type": "tar", "dest": "-"}, nil
			}
			return Entry{"type": "local", "dest": s}, nil
		}
		e, err := csvEntry(s)
		if err == nil && e["type"] == "" {
			err = fmt.Errorf("output %q names no type: write type=image or type=registry", s)
		}
		return e, err
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.output.
func (o Outputs) ToCtyValue() cty.Value { return entriesValue(o) }

// FromCtyValue reads a list of CSV strings and objects.
func (s *Secrets) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*s, err = entries(in, p, func(s string) (Entry, error) {
		e, err := csvEntry(s)
		if err != nil {
			return nil, err
		}
		if v, ok := e["source"]; ok {
			e = e.without("source")
			e["src"] = v
		}
		switch e["type"] {
		case "", "file", "env":
		default:
			return nil, fmt.Errorf("secret %q has the unknown type %q: write type=file or type=env", s, e["type"])
		}
		if e["type"] == "env" && e["src"] != "" && e["env"] == "" {
			e["env"] = e["src"]
			delete(e, "src")
		}
		delete(e, "type")
		return e, nil
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.secret.
func (s Secrets) ToCtyValue() cty.Value { return entriesValue(s) }

// FromCtyValue reads a list of `id[=path,…]` strings and objects.
func (s *SSH) FromCtyValue(in cty.Value, p cty.Path) (err error) {
	*s, err = entries(in, p, func(s string) (Entry, error) {
		id, paths, _ := strings.Cut(s, "=")
		e := Entry{"id": id}
		if paths != "" {
			e["paths"] = paths
		}
		return e, nil
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.ssh.
func (s SSH) ToCtyValue() cty.Value { return entriesValue(s) }

// MarshalJSON gives bake's --print form, where paths is a list.
func (s SSH) MarshalJSON() ([]byte, error) {
	out := make([]map[string]any, len(s))
	for i, e := range s {
		m := map[string]any{"id": e["id"]}
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
		m := map[string]any{}
		for k, v := range e {
			m[k] = v
		}
		if v, ok := e["disabled"]; ok {
			delete(m, "disabled")
			if b, _ := strconv.ParseBool(v); b {
				m["disabled"] = true
			}
		}
		out[i] = m
	}
	return json.Marshal(out)
}

// entries reads a list whose elements are strings, which parse understands, or
// objects of strings. Bake sorts nothing here, and neither do we.
func entries(in cty.Value, p cty.Path, parse func(string) (Entry, error)) ([]Entry, error) {
	if in.IsNull() || !in.IsKnown() {
		return nil, nil
	}
	ty := in.Type()
	if !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		return nil, p.NewErrorf("a list is required, of strings such as \"type=…\" or of objects")
	}
	out := []Entry{}
	for i, v := range in.AsValueSlice() {
		ip := p.IndexInt(i)
		if v.IsNull() || !v.IsKnown() {
			continue
		}
		if v.Type() == cty.String {
			if v.AsString() == "" { // bake drops empty entries: they come from conditionals
				continue
			}
			e, err := parse(v.AsString())
			if err != nil {
				return nil, ip.NewError(err)
			}
			out = append(out, e)
			continue
		}
		if !v.Type().IsObjectType() && !v.Type().IsMapType() {
			return nil, ip.NewErrorf("a string such as \"type=…\" or an object is required")
		}
		e := Entry{}
		for k, a := range v.AsValueMap() {
			s, err := entryValue(a)
			if err != nil {
				return nil, ip.GetAttr(k).NewError(err)
			}
			if s != "" {
				e[k] = s
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func entryValue(v cty.Value) (string, error) {
	if v.IsNull() || !v.IsKnown() {
		return "", nil
	}
	if ty := v.Type(); ty.IsTupleType() || ty.IsListType() || ty.IsSetType() {
		var parts []string
		for _, e := range v.AsValueSlice() {
			s, err := entryValue(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil {
		return "", err
	}
	return s.AsString(), nil
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

func csvEntry(s string) (Entry, error) {
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
		e[strings.ToLower(strings.TrimSpace(k))] = v
	}
	return e, nil
}

// unique drops entries whose key came before; the later value stands in the
// earlier place, as bake's Normalize has it.
func unique[E ~[]Entry](es E, key func(Entry) string) E {
	if len(es) == 0 {
		return nil
	}
	at := map[string]int{}
	out := E{}
	for _, e := range es {
		if i, ok := at[key(e)]; ok {
			out[i] = e
			continue
		}
		at[key(e)] = len(out)
		out = append(out, e)
	}
	return out
}
