package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// shape is what a body may hold. Bake passes over what it does not know: in its
// files that is a warning, in ours an error, since the misspelt attribute is the
// one that mattered.
type shape struct {
	attrs  []string
	blocks map[string]shape
	open   bool // attributes of any name: variables at the top level
}

func fileShape() shape {
	top := shapeOf(reflect.TypeFor[ownBlocks]())
	top.open = true
	target := shapeOf(reflect.TypeFor[Target]())
	target.attrs = append(target.attrs, "matrix", "name")
	target.blocks = shapeOf(reflect.TypeFor[targetBlocks]()).blocks
	top.blocks["target"] = target
	top.blocks["group"] = shapeOf(reflect.TypeFor[Group]())
	top.blocks["variable"] = shape{
		attrs:  []string{"type", "default", "description"},
		blocks: map[string]shape{"validation": {attrs: []string{"condition", "error_message"}}},
	}
	top.blocks["function"] = shape{attrs: []string{"params", "variadic_params", "result"}}
	return top
}

// shapeOf reads the hcl tags of a struct.
func shapeOf(t reflect.Type) shape {
	s := shape{blocks: map[string]shape{}}
	for i := range t.NumField() {
		name, kind, _ := strings.Cut(t.Field(i).Tag.Get("hcl"), ",")
		switch {
		case name == "" || kind == "label":
		case kind == "block":
			ft := t.Field(i).Type
			for ft.Kind() != reflect.Struct {
				ft = ft.Elem()
			}
			s.blocks[name] = shapeOf(ft)
		default:
			s.attrs = append(s.attrs, name)
		}
	}
	return s
}

// unknown reports every attribute and block of body that has no place in s.
func (s shape) unknown(body hcl.Body, where string) hcl.Diagnostics {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		return s.unknownJSON(body, where)
	}
	var diags hcl.Diagnostics
	if !s.open {
		for _, a := range native.Attributes {
			if !slices.Contains(s.attrs, a.Name) {
				diags = append(diags, s.diagnose("attribute", a.Name, where, a.NameRange))
			}
		}
	}
	for _, b := range native.Blocks {
		inner, ok := s.blocks[b.Type]
		if !ok {
			diags = append(diags, s.diagnose("block", b.Type, where, b.TypeRange))
			continue
		}
		diags = append(diags, inner.unknown(b.Body, describeBlock(b.Type, b.Labels))...)
	}
	return diags
}

// unknownJSON does the same for a JSON body, in which blocks look like
// attributes until a schema tells them apart.
func (s shape) unknownJSON(body hcl.Body, where string) hcl.Diagnostics {
	schema := &hcl.BodySchema{}
	for _, a := range s.attrs {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: a})
	}
	for b := range s.blocks {
		h := hcl.BlockHeaderSchema{Type: b}
		if _, bare := unlabelled[b]; !bare {
			h.LabelNames = []string{"name"}
		}
		schema.Blocks = append(schema.Blocks, h)
	}
	content, rest, diags := body.PartialContent(schema)
	if !s.open {
		attrs, _ := rest.JustAttributes()
		for _, a := range attrs {
			diags = append(diags, s.diagnose("attribute", a.Name, where, a.NameRange))
		}
	}
	for _, b := range content.Blocks {
		diags = append(diags, s.blocks[b.Type].unknown(b.Body, describeBlock(b.Type, b.Labels))...)
	}
	return diags
}

// unlabelled are the block types without a label.
var unlabelled = map[string]struct{}{
	"release": {}, "audit": {}, "prepare": {}, "smoke": {}, "expect": {}, "http": {}, "tls": {}, "validation": {}, "sign": {},
}

func describeBlock(typ string, labels []string) string {
	if len(labels) == 0 {
		return "The block " + typ
	}
	return fmt.Sprintf("The block %s %q", typ, strings.Join(labels, `" "`))
}
