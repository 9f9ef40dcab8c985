package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/archmage-build/archmage/internal/oci"
)

// checkSources checks the images that a target is made of, and refuses what
// only a build has a use for.
func (t *Target) checkSources() hcl.Diagnostics {
	var diags hcl.Diagnostics
	fail := func(subject *hcl.Range, summary, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: subject})
	}
	for _, source := range t.Sources {
		if source == "" {
			continue
		}
		_, err := oci.ParseReference(source)
		var e *oci.ReferenceError
		if errors.As(err, &e) {
			fail(t.Where("sources", source), "Invalid source", "%s; %s", err, e.Hint()+".")
		}
	}
	for _, o := range t.Overrides {
		// A block may stand in a target whose sources another one inherits.
		if o.Source != nil && len(t.Sources) > 0 && !slices.Contains(t.Sources, *o.Source) {
			fail(at(o.Body, "source", -1), "Unknown source", "%q is none of the sources of target %q.", *o.Source, t.Name)
		}
	}
	if len(t.Sources) == 0 {
		return diags
	}
	for _, a := range []struct {
		name string
		set  bool
	}{
		{"context", t.states("context")}, {"contexts", len(t.Contexts) > 0}, {"dockerfile", t.states("dockerfile")},
		{"dockerfile-inline", t.DockerfileInline != nil}, {"args", len(t.Args) > 0}, {"target", t.Target != nil},
		{"labels", len(t.Labels) > 0}, {"attest", len(t.Attest) > 0}, {"secret", len(t.Secrets) > 0}, {"ssh", len(t.SSH) > 0},
	} {
		if a.set {
			fail(t.Where(a.name, ""), "Sources are not built", "Target %q is made of its sources, which are taken as they are, so %s does nothing. Remove one of them.", t.Name, a.name)
		}
	}
	if t.Prepare != nil {
		fail(t.Prepare.Body.MissingItemRange().Ptr(), "Sources are not built", "Target %q is made of its sources, so there is nothing to prepare. Remove one of them.", t.Name)
	}
	for _, o := range t.Overrides {
		for _, a := range []struct {
			name string
			set  bool
		}{{"args", len(o.Args) > 0}, {"context", o.Context != nil}, {"dockerfile", o.Dockerfile != nil}, {"target", o.Target != nil}} {
			if a.set {
				fail(at(o.Body, a.name, -1), "Sources are not built", "Target %q is made of its sources, which are taken as they are, so %s does nothing. Remove it.", t.Name, a.name)
			}
		}
	}
	return diags
}

func (o *PlatformOverride) check() hcl.Diagnostics {
	var diags hcl.Diagnostics
	fail := func(subject *hcl.Range, summary, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: subject})
	}
	p, err := ParsePlatform(o.Name)
	if err != nil {
		fail(o.Body.MissingItemRange().Ptr(), "Invalid platform", "%s", Sentence(err))
		return diags
	}
	o.Platform = p
	for _, a := range []struct {
		name  string
		value *string
	}{{"os", o.OS}, {"architecture", o.Architecture}} {
		if a.value != nil && *a.value == "" {
			fail(at(o.Body, a.name, -1), "Invalid "+a.name, "A descriptor's platform must have an %s; it cannot be cleared.", a.name)
			return diags
		}
	}
	if o.OS == nil && o.Architecture == nil && o.Variant == nil {
		return diags
	}
	replaced := p
	for dst, value := range map[*string]*string{&replaced.OS: o.OS, &replaced.Architecture: o.Architecture, &replaced.Variant: o.Variant} {
		if value != nil {
			*dst = *value
		}
	}
	text := replaced.OS + "/" + replaced.Architecture
	if replaced.Variant != "" {
		text += "/" + replaced.Variant
	}
	if _, err := ParsePlatform(text); err != nil {
		fail(o.Body.MissingItemRange().Ptr(), "Invalid platform", "The fields of the block give a platform that does not exist: %s", Sentence(err))
	}
	return diags
}

func (s *Sign) check() hcl.Diagnostics {
	if s.PasswordEnv == "" {
		s.PasswordEnv = "COSIGN_PASSWORD"
	}
	if s.Key != "" {
		return nil
	}
	return hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: "Empty key",
		Detail:  "A sign block names the private key of a pair: key = \"cosign.key\", made with `cosign generate-key-pair`.",
		Subject: at(s.Body, "key", -1),
	}}
}
