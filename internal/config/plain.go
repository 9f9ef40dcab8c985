package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// plain says in words of this configuration what HCL's parser and decoder say of
// any: which attribute has the wrong type and how the right one is written, how a
// block within a block is written. What it does not know stays as it is.
func (c *Config) plain(diags hcl.Diagnostics) hcl.Diagnostics {
	out := make(hcl.Diagnostics, 0, len(diags))
	for _, d := range diags {
		switch {
		case d.Subject == nil:
		case d.Summary == "Unsuitable value type":
			d = c.wrongType(d)
		case d.Summary == "Argument definition required" && strings.Contains(d.Detail, "nested block"):
			d = c.nestedBlock(d)
		case d.Summary == "Argument or block definition required" && onOneLine(diags, d):
			continue // the other error of the line is the cause
		}
		out = append(out, d)
	}
	return out
}

// onOneLine reports whether another error has the line of d.
func onOneLine(diags hcl.Diagnostics, d *hcl.Diagnostic) bool {
	return slices.ContainsFunc(diags, func(o *hcl.Diagnostic) bool {
		return o != d && o.Subject != nil && o.Subject.Filename == d.Subject.Filename && o.Subject.Start.Line == d.Subject.Start.Line
	})
}

// unsuitable is the detail of a wrong type: the one that is required.
var unsuitable = regexp.MustCompile(`^Unsuitable value: (?:a )?(list|set|map|string|number|bool)\b.*required`)

// wrongType names the attribute, its type, and how the value would be written.
func (c *Config) wrongType(d *hcl.Diagnostic) *hcl.Diagnostic {
	m := unsuitable.FindStringSubmatch(d.Detail)
	attr := c.attributeAt(d.Subject)
	if m == nil || attr == nil {
		return d
	}
	out := *d
	out.Summary = "Wrong type"
	out.Subject = attr.Expr.Range().Ptr()
	value := strings.TrimSpace(string(c.Sources[d.Subject.Filename].Bytes[attr.EqualsRange.End.Byte:attr.SrcRange.End.Byte]))
	switch m[1] {
	case "list", "set":
		out.Detail = fmt.Sprintf("%s is a list. Write it in brackets: %s = %s.", attr.Name, attr.Name, inBrackets(attr.Name, value))
		if strings.HasPrefix(value, "[") {
			out.Detail = fmt.Sprintf("An element of the list %s is of the wrong type. Write strings: %s = [\"…\"].", attr.Name, attr.Name)
		}
	case "map":
		out.Detail = fmt.Sprintf("%s is a map. Write it in braces: %s = { NAME = \"value\" }.", attr.Name, attr.Name)
	case "number":
		out.Detail = fmt.Sprintf("%s is a number. Write it without quotes: %s = 1.", attr.Name, attr.Name)
	case "bool":
		out.Detail = fmt.Sprintf("%s is true or false. Write one of them, without quotes.", attr.Name)
	case "string":
		out.Detail = fmt.Sprintf("%s is a string. Write it in quotes: %s = \"…\".", attr.Name, attr.Name)
	}
	return &out
}

// inBrackets makes a list of what was written as one value; a command is split
// at blanks, as a shell would do it.
func inBrackets(name, value string) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
	switch {
	case strings.Contains(value, "\n"), strings.HasPrefix(value, "{"):
		return `["…"]`
	case name == "command" && strings.HasPrefix(value, `"`) && !strings.ContainsAny(inner, `"'\`):
		return `["` + strings.Join(strings.Fields(inner), `", "`) + `"]`
	}
	return "[" + value + "]"
}

// attributeAt finds the attribute in whose value a place lies, or nil; files in
// JSON have none that could be shown.
func (c *Config) attributeAt(place *hcl.Range) *hclsyntax.Attribute {
	src := c.Sources[place.Filename]
	if src == nil {
		return nil
	}
	body, ok := src.Body.(*hclsyntax.Body)
	if !ok {
		return nil
	}
	var find func(*hclsyntax.Body) *hclsyntax.Attribute
	find = func(b *hclsyntax.Body) *hclsyntax.Attribute {
		for _, a := range b.Attributes {
			if a.SrcRange.Start.Byte <= place.Start.Byte && place.Start.Byte <= a.SrcRange.End.Byte {
				return a
			}
		}
		for _, inner := range b.Blocks {
			if a := find(inner.Body); a != nil {
				return a
			}
		}
		return nil
	}
	return find(body)
}

// nestedBlock tells how a block stands within another, where both were written in
// one line.
func (c *Config) nestedBlock(d *hcl.Diagnostic) *hcl.Diagnostic {
	out := *d
	line := string(d.Subject.SliceBytes(c.Sources[d.Subject.Filename].Bytes))
	name := strings.TrimSpace(strings.TrimSuffix(line, "{"))
	out.Summary = "Block within a line"
	out.Detail = fmt.Sprintf("A block that holds another takes several lines. Write %s on a line of its own, between the braces.", name)
	return &out
}
