package plan

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// library is the part of Docker Hub that a name without a registry and a user
// stands for: nobody but Docker may push to it.
const library = "docker.io/library/"

// CheckPublish reports the targets that cannot be published for want of tags, or
// for tags that name no registry, which only matters to tasks that push.
func (p *Plan) CheckPublish() hcl.Diagnostics {
	diags := p.checkLibrary(hcl.DiagError)
	for _, t := range p.Targets {
		if len(t.Tags) > 0 || !t.Published() {
			continue
		}
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "Target without tags",
			Detail:   fmt.Sprintf("Target %q has no tags, so there is no registry to push it to. Add tags = [\"registry.example/%s:1\"], write files instead (output = [\"type=oci,dest=FILE\"]), or leave it out with -targets.", t.Name, strings.ToLower(t.Name)),
			Subject:  t.Spec.Where("tags", ""),
		})
	}
	return diags
}

// Notes are what a release can do and is hardly intended, for tasks that only
// show it: what CheckPublish refuses is among them.
func (p *Plan) Notes() hcl.Diagnostics {
	var diags hcl.Diagnostics
	var alone []string
	var first *Target
	for _, t := range p.Published() {
		if len(t.Spec.Platforms) > 0 || len(t.Builds) == 0 {
			continue
		}
		alone = append(alone, fmt.Sprintf("%q", t.Name))
		if first == nil {
			first = t
		}
	}
	switch {
	case len(alone) == 1:
		diags = append(diags, note(first.Spec.Where("platforms", ""), "Target for one platform",
			"Target %s names no platforms, so it is built for this machine's alone, %s. Name those it shall run on: platforms = [\"linux/amd64\", \"linux/arm64\"].", alone[0], first.Builds[0].PlatformName()))
	case len(alone) > 1:
		diags = append(diags, note(first.Spec.Where("platforms", ""), "Targets for one platform",
			"The targets %s name no platforms, so they are built for this machine's alone, %s. Name those they shall run on: platforms = [\"linux/amd64\", \"linux/arm64\"].", strings.Join(alone, ", "), first.Builds[0].PlatformName()))
	}
	return append(diags, p.checkLibrary(hcl.DiagWarning)...)
}

func note(at *hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: at}
}

// checkLibrary finds tags such as "app:1". A registry block for docker.io says
// that something else answers under the name.
func (p *Plan) checkLibrary(severity hcl.DiagnosticSeverity) hcl.Diagnostics {
	for _, r := range p.Registries {
		if r.Host == "docker.io" {
			return nil
		}
	}
	var diags hcl.Diagnostics
	for _, t := range p.Published() {
		for _, text := range t.Spec.Tags {
			tag, err := parseTag(text)
			if err != nil {
				continue
			}
			name, found := strings.CutPrefix(tag.String(), library)
			if !found {
				continue
			}
			diags = append(diags, &hcl.Diagnostic{
				Severity: severity,
				Summary:  "Tag without a registry",
				Detail:   fmt.Sprintf("The tag %q of target %q names no registry, so it stands for docker.io/library/%s, where only Docker may push. Write it with its registry, \"registry.example/%s\", or with your name on Docker Hub, \"docker.io/USER/%s\".", text, t.Name, name, name, name),
				Subject:  t.Spec.Where("tags", text),
			})
		}
	}
	return diags
}
