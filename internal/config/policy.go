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

// Policy is one `policy` entry. It is read so that it can be printed, and
// refused by name: no source policy is evaluated here.
type Policy struct {
	Files           []string
	Reset, Disabled bool
	Strict          *bool
	LogLevel        string
}

// Policies are the `policy` entries of a target.
type Policies []Policy

// FromCtyValue reads a list of CSV strings and objects.
func (o *Policies) FromCtyValue(in cty.Value, p cty.Path) error {
	*o = Policies{}
	_, err := entries(in, p, func(s string) ([]Entry, error) {
		pol, err := parsePolicy(s)
		*o = append(*o, pol)
		return nil, err
	}, func(v cty.Value) (Entry, error) {
		var fields []string
		for _, k := range slices.Sorted(maps.Keys(v.AsValueMap())) {
			a := v.AsValueMap()[k]
			if a.IsNull() || !a.IsKnown() {
				continue
			}
			s, err := convert.Convert(a, cty.String)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			if s.AsString() != "" {
				fields = append(fields, k+"="+s.AsString())
			}
		}
		pol, err := policyOf(fields)
		*o = append(*o, pol)
		return nil, err
	})
	return err
}

// ToCtyValue gives the entries for references such as target.app.policy.
func (o Policies) ToCtyValue() cty.Value {
	es := make([]Entry, len(o))
	for i, p := range o {
		es[i] = Entry{}
		if len(p.Files) > 0 {
			es[i]["filename"] = p.Files[0]
		}
		if p.Reset {
			es[i]["reset"] = "true"
		}
		if p.Disabled {
			es[i]["disabled"] = "true"
		}
		if p.Strict != nil {
			es[i]["strict"] = strconv.FormatBool(*p.Strict)
		}
		if p.LogLevel != "" {
			es[i]["log-level"] = p.LogLevel
		}
	}
	return entriesValue(es)
}

func parsePolicy(s string) (Policy, error) {
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return Policy{}, fmt.Errorf("reading %q as CSV: %w", s, err)
	}
	return policyOf(fields)
}

var logLevels = map[string]string{
	"panic": "panic", "fatal": "fatal", "error": "error", "warn": "warning", "warning": "warning", "info": "info", "debug": "debug", "trace": "trace",
}

func policyOf(fields []string) (Policy, error) {
	var p Policy
	for _, f := range fields {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return p, fmt.Errorf("%q is not key=value", f)
		}
		flag := func() (bool, error) {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return false, fmt.Errorf("policy %s: write true or false", f)
			}
			return b, nil
		}
		var err error
		switch strings.TrimSpace(strings.ToLower(k)) {
		case "filename":
			if v == "" {
				return p, fmt.Errorf("the policy's filename is empty")
			}
			p.Files = append(p.Files, v)
		case "reset":
			p.Reset, err = flag()
		case "disabled":
			p.Disabled, err = flag()
		case "strict":
			var b bool
			b, err = flag()
			p.Strict = &b
		case "log-level":
			if p.LogLevel, ok = logLevels[strings.ToLower(v)]; !ok {
				return p, fmt.Errorf("policy %s: the level is none of error, warn, info, debug", f)
			}
		default:
			return p, fmt.Errorf("policy %s: it takes filename, reset, disabled, strict and log-level", f)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// MarshalJSON gives bake's --print form.
func (p Policy) MarshalJSON() ([]byte, error) {
	type file struct {
		Filename string
		Data     []byte
	}
	var files []file
	for _, f := range p.Files {
		files = append(files, file{Filename: f})
	}
	var level *string
	if p.LogLevel != "" {
		level = &p.LogLevel
	}
	return json.Marshal(struct {
		Files           []file
		Reset, Disabled bool
		Strict          *bool
		LogLevel        *string
	}{files, p.Reset, p.Disabled, p.Strict, level})
}
