package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// blockAttr finds one attribute of a body without caring for the rest, or nil.
func blockAttr(body hcl.Body, name string) *hcl.Attribute {
	if body == nil {
		return nil
	}
	if native, ok := body.(*hclsyntax.Body); ok {
		if a, ok := native.Attributes[name]; ok {
			return a.AsHCLAttribute()
		}
		return nil
	}
	content, _, _ := body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: name}}})
	if content == nil {
		return nil
	}
	return content.Attributes[name]
}

func attrError(attr *hcl.Attribute, summary, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   detail,
		Subject:  attr.Expr.Range().Ptr(),
		Context:  attr.Range.Ptr(),
	}}
}

// at is where an attribute of body stands, or element i of it where i ≥ 0 and
// the list is written out; the body itself where the attribute is missing.
func at(body hcl.Body, name string, i int) *hcl.Range {
	attr := blockAttr(body, name)
	if attr == nil {
		if body == nil {
			return nil
		}
		return body.MissingItemRange().Ptr()
	}
	if i >= 0 {
		if list, diags := hcl.ExprList(attr.Expr); !diags.HasErrors() && i < len(list) {
			return list[i].Range().Ptr()
		}
	}
	return attr.Expr.Range().Ptr()
}

// states reports whether one of the target's blocks has the attribute.
func (t *Target) states(name string) bool {
	return slices.ContainsFunc(t.sources, func(s source) bool { return blockAttr(s.block.Body, name) != nil })
}

// Where finds the place in the target's blocks that gives attribute name the
// value; "" means the attribute as a whole. Its own blocks come last in
// sources, so they are asked first.
func (t *Target) Where(name, value string) *hcl.Range {
	var fallback *hcl.Range
	for i := len(t.sources) - 1; i >= 0; i-- {
		src := t.sources[i]
		attr := blockAttr(src.block.Body, name)
		if attr == nil {
			continue
		}
		if fallback == nil {
			fallback = attr.Expr.Range().Ptr()
		}
		if value == "" {
			break
		}
		list, diags := hcl.ExprList(attr.Expr)
		if diags.HasErrors() {
			continue
		}
		for _, e := range list {
			v, diags := e.Value(src.scope.ctx)
			if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type().FriendlyName() != "string" {
				continue
			}
			if v.AsString() == value {
				return e.Range().Ptr()
			}
		}
	}
	if fallback == nil && len(t.sources) > 0 {
		return t.sources[len(t.sources)-1].block.DefRange.Ptr()
	}
	return fallback
}
