package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Resources are the limits of build steps, by bake's names.
type Resources map[string]string

var (
	resourceTexts   = []string{"memory", "memory-swap", "cpuset-cpus", "cpuset-mems"}
	resourceNumbers = []string{"cpu-shares", "cpu-period", "cpu-quota"}
)

// FromCtyValue reads an object; attributes that it does not have are passed
// over, as in bake.
func (r *Resources) FromCtyValue(in cty.Value, p cty.Path) error {
	if !in.Type().IsObjectType() && !in.Type().IsMapType() {
		return p.NewErrorf("an object is required, such as { memory = \"1g\" }")
	}
	if in.IsNull() {
		return p.NewErrorf("an object is required, not null")
	}
	out := Resources{}
	for k, v := range in.AsValueMap() {
		if v.IsNull() || !v.IsKnown() {
			continue
		}
		s, err := convert.Convert(v, cty.String)
		if err != nil {
			return p.GetAttr(k).NewError(err)
		}
		if err := out.set(k, s.AsString()); err != nil && slices.Contains(resourceNumbers, k) {
			return p.GetAttr(k).NewError(err)
		}
	}
	*r = out
	return nil
}

func (r Resources) set(name, value string) error {
	if slices.Contains(resourceNumbers, name) {
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return fmt.Errorf("resources: %s %q is no whole number", name, value)
		}
	} else if !slices.Contains(resourceTexts, name) {
		return fmt.Errorf("resources: %q is none of memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, cpuset-mems", name)
	}
	r[name] = value
	return nil
}

// ToCtyValue gives the object for references such as target.app.resources.
func (r Resources) ToCtyValue() cty.Value {
	vals := map[string]cty.Value{}
	for _, k := range resourceTexts {
		vals[k] = cty.NullVal(cty.String)
		if v, ok := r[k]; ok {
			vals[k] = cty.StringVal(v)
		}
	}
	for _, k := range resourceNumbers {
		vals[k] = cty.NullVal(cty.Number)
		if n, err := strconv.ParseInt(r[k], 10, 64); err == nil {
			vals[k] = cty.NumberIntVal(n)
		}
	}
	return cty.ObjectVal(vals)
}

// MarshalJSON gives bake's --print form, where the CPU's shares are numbers.
func (r Resources) MarshalJSON() ([]byte, error) {
	m := map[string]any{}
	for k, v := range r {
		m[k] = v
		if slices.Contains(resourceNumbers, k) {
			m[k] = json.Number(v)
		}
	}
	return json.Marshal(m)
}
