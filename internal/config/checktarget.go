package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Check reports what a release cannot do with the target, and fills the parsed
// fields of its blocks. It is for targets that are selected: bake passes over
// what is wrong in others.
func (t *Target) Check() hcl.Diagnostics {
	var diags hcl.Diagnostics
	fail := func(subject *hcl.Range, summary, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: subject})
	}
	for _, list := range t.Platforms {
		for _, p := range strings.Split(list, ",") {
			if _, err := ParsePlatform(p); p != "" && err != nil {
				fail(t.Where("platforms", list), "Invalid platform", "%s", Sentence(err))
			}
		}
	}
	for _, tag := range t.Tags {
		if tag == "" {
			continue
		}
		if err := checkTag(tag); err != nil {
			fail(t.Where("tags", tag), "Invalid tag", "%s", Sentence(err))
		}
	}
	for _, a := range t.Annotations {
		if _, err := ParseAnnotation(a); a != "" && err != nil {
			fail(t.Where("annotations", a), "Invalid annotation", "%s", Sentence(err))
		}
	}
	if t.Index != nil && !slices.Contains([]string{"auto", IndexAlways}, *t.Index) {
		fail(t.Where("index", ""), "Invalid index", "index is \"auto\" (a single image without attestations is published without an index) or \"always\"; %q is neither.", *t.Index)
	}
	if t.Network != nil && !slices.Contains([]string{"", "default", "host", "none"}, *t.Network) {
		fail(t.Where("network", ""), "Invalid network", "The network mode %q is none of default, host and none.", *t.Network)
	}
	diags = append(diags, t.checkSources()...)
	for _, o := range t.Overrides {
		diags = append(diags, o.check()...)
	}
	if p := t.Prepare; p != nil && emptyList(p.Body, "command") {
		fail(at(p.Body, "command", -1), "Empty command", "A prepare block runs a command: command = [\"make\", \"dist\"].")
	}
	for _, s := range t.Smokes {
		diags = append(diags, s.check()...)
	}
	return diags
}

// emptyList reports whether an attribute is written as a list of nothing. One that
// is missing, or no list, was reported when it was decoded.
func emptyList(body hcl.Body, name string) bool {
	attr := blockAttr(body, name)
	if attr == nil {
		return false
	}
	list, diags := hcl.ExprList(attr.Expr)
	return !diags.HasErrors() && len(list) == 0
}
