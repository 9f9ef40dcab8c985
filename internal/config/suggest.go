package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// diagnose reports a name that has no place in s, with the place or the name
// that was most likely intended: the same word in the other form, the block that
// it belongs in, or a name spelt alike.
func (s shape) diagnose(kind, name, where string, at hcl.Range) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Unknown " + kind,
		Detail:   fmt.Sprintf("%s has no %s %q.%s", where, kind, name, s.suggest(kind, name)),
		Subject:  &at,
	}
}

// suggest is what follows, with a blank before it.
func (s shape) suggest(kind, name string) string {
	blocks := slices.Sorted(maps.Keys(s.blocks))
	switch {
	case kind == "attribute" && s.blocks[name].known():
		text := fmt.Sprintf(" It is a block, which has no equals sign: %s.", sample(name))
		if list := name + "s"; slices.Contains(s.attrs, list) {
			text += fmt.Sprintf(" The list is %q: %s = [\"…\"].", list, list)
		}
		return text
	case kind == "block" && slices.Contains(s.attrs, name):
		text := fmt.Sprintf(" It is an attribute, which has an equals sign: %s = ….", name)
		if single := strings.TrimSuffix(name, "s"); s.blocks[single].known() {
			text += fmt.Sprintf(" The block is %q: %s.", single, sample(single))
		}
		return text
	}
	same, other := s.attrs, blocks
	if kind == "block" {
		same, other = blocks, s.attrs
	}
	if near := nearest(name, same); near != "" {
		return fmt.Sprintf(" Did you mean %q?", near)
	}
	if home := homes(name); len(home) > 0 {
		return fmt.Sprintf(" It belongs in %s.", strings.Join(home, " or "))
	}
	if near := nearest(name, other); near != "" && kind == "attribute" {
		return fmt.Sprintf(" Did you mean the block %s?", sample(near))
	} else if near != "" {
		return fmt.Sprintf(" Did you mean the attribute %s = …?", near)
	}
	if s.open {
		return fmt.Sprintf(" It may hold the blocks: %s.", strings.Join(blocks, ", "))
	}
	known := append(blocks, s.attrs...)
	slices.Sort(known)
	return fmt.Sprintf(" It may hold: %s.", strings.Join(known, ", "))
}

// known reports whether s is a shape at all, rather than the zero value of a map.
func (s shape) known() bool { return s.attrs != nil || s.blocks != nil }

// sample shows how a block begins.
func sample(block string) string {
	if _, bare := unlabelled[block]; bare {
		return block + " { … }"
	}
	label := "NAME"
	switch block {
	case "platform":
		label = "linux/arm64"
	case "registry":
		label = "registry.example"
	}
	return fmt.Sprintf("%s %q { … }", block, label)
}

// homes are the blocks in which a name has its place, written as they are
// nested: "release { … }", "smoke { http { … } }" of a target.
func homes(name string) []string {
	var out []string
	var walk func(s shape, before, after string)
	walk = func(s shape, before, after string) {
		for _, block := range slices.Sorted(maps.Keys(s.blocks)) {
			if block == "variable" || block == "function" {
				continue // bake's own; their words stand for too much
			}
			inner := s.blocks[block]
			head := strings.TrimSuffix(sample(block), " … }")
			if slices.Contains(inner.attrs, name) || inner.blocks[name].known() {
				out = append(out, before+head+" "+name+after+" }")
				continue
			}
			walk(inner, before+head+" ", after+" }")
		}
	}
	walk(fileShape(), "", " …")
	if len(out) > 2 {
		return nil // a word of many blocks tells nothing
	}
	return out
}

// nearest returns the known name that a person most likely meant, or "".
func nearest(name string, known []string) string {
	best, dist := "", 3
	fold := strings.NewReplacer("_", "-").Replace(strings.ToLower(name))
	for _, k := range known {
		if k == name {
			continue
		}
		d := levenshtein.Distance(fold, strings.NewReplacer("_", "-").Replace(strings.ToLower(k)), nil)
		if d < dist && d < len(k) && d < len(name) {
			best, dist = k, d
		}
	}
	return best
}

// misspelt reports whether a body holds an attribute that was most likely meant
// to be one of names.
func misspelt(body hcl.Body, names ...string) bool {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		return false
	}
	for _, a := range native.Attributes {
		if !slices.Contains(names, a.Name) && slices.Contains(names, nearest(a.Name, shapeOf(reflect.TypeFor[Device]()).attrs)) {
			return true
		}
	}
	return false
}
