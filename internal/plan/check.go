package plan

import (
	"fmt"
	"slices"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
)

// check reports what no release could do.
func (p *planner) check(only []ocispecs.Platform) {
	p.checkTags()
	p.checkOutputs()
	for _, t := range p.plan.Targets {
		p.checkHonoured(t)
		p.checkSources(t)
		p.checkWorkers(t)
	}
	p.checkDevices()
	sources := slices.ContainsFunc(p.plan.Targets, func(t *Target) bool { return len(t.Sources) > 0 && len(t.Platforms) > 0 })
	if len(only) > 0 && len(p.plan.Builds()) == 0 && !sources && !p.diags.HasErrors() {
		p.option("platforms", fmt.Errorf("none of the targets is built for them"))
	}
}

func (p *planner) checkTags() {
	owner := map[Tag]*Target{}
	for _, t := range p.plan.Published() {
		for i, tag := range t.Tags {
			if prev, ok := owner[tag]; ok {
				p.fail(t.Spec.Where("tags", t.Spec.Tags[min(i, len(t.Spec.Tags)-1)]), "Two targets with one tag",
					"Target %q has the tag %s of target %q. One of them would overwrite the other.", t.Name, tag, prev.Name)
			}
			owner[tag] = t
		}
	}
}

// checkHonoured refuses by name what a release does not do. Nothing that bake
// would have done is passed over in silence.
func (p *planner) checkHonoured(t *Target) {
	s := t.Spec
	if len(s.Policy) > 0 {
		p.fail(s.Where("policy", ""), "Not honoured: policy", "Target %q has a source policy, which archmage does not evaluate. Build it with docker buildx, or remove the policy.", t.Name)
	}
	if v := s.Context; v != nil && *v == "-" {
		p.fail(s.Where("context", ""), "Not honoured: context", "Target %q reads its context from standard input; a release is repeated, so it needs a directory or an address.", t.Name)
	}
}

// checkSources refuses what would change images that are taken as they are.
func (p *planner) checkSources(t *Target) {
	if len(t.Sources) == 0 {
		return
	}
	for _, text := range t.Spec.Annotations {
		annotations, err := config.ParseAnnotation(text)
		if err != nil {
			continue // said when it was loaded
		}
		for _, a := range annotations {
			if a.Level == "manifest" {
				p.fail(t.Spec.Where("annotations", text), "Annotation of an image that is not built",
					"The annotation %q is for the manifests of the images, but target %q takes them from its sources as they are. Write it at the index: \"index:%s=%s\".", text, t.Name, a.Key, a.Value)
			}
		}
	}
}

// OutputOptions are the keys of output that reach BuildKit's image exporter;
// push, name and push-by-digest are decided by the release. See
// https://github.com/moby/buildkit#imageregistry.
var OutputOptions = []string{
	"type", "push", "name", "push-by-digest",
	"compression", "compression-level", "force-compression", "oci-mediatypes", "oci-artifact",
	"rewrite-timestamp", "source-date-epoch", "unpack", "store", "dangling-name-prefix", "name-canonical", "buildinfo",
}

// checkWorkers finds platforms that no worker may build, as far as the
// declared platforms tell; the rest is known once the workers answer.
func (p *planner) checkWorkers(t *Target) {
	for _, b := range t.Builds {
		if b.Optional || len(p.plan.Candidates(b.Platform)) > 0 {
			continue
		}
		var have []string
		for _, w := range p.plan.Workers {
			have = append(have, fmt.Sprintf("%s (%s)", w.Name, strings.Join(w.PlatformNames, ", ")))
		}
		p.fail(t.Spec.Where("platforms", b.PlatformName()), "No worker for a platform",
			"No worker may build %s for target %q. Workers: %s. Add it to a worker's platforms, or to its emulates and set release { emulation = \"warn\" }, or mark it optional.",
			b.PlatformName(), t.Name, strings.Join(have, "; "))
	}
}

// Candidates are the workers that may build the platform as far as is declared:
// natively, by emulation where that is allowed, or unknown until they are asked.
func (p *Plan) Candidates(pl ocispecs.Platform) []*config.Worker {
	var out []*config.Worker
	for _, w := range p.Workers {
		if len(w.Platforms) == 0 || contains(w.Platforms, pl) || (p.Release.Emulation != "forbid" && contains(w.Emulates, pl)) {
			out = append(out, w)
		}
	}
	return out
}

// Fit says how a worker may build a platform, as far as is declared.
func Fit(w *config.Worker, pl ocispecs.Platform) string {
	switch {
	case contains(w.Platforms, pl):
		return "native"
	case contains(w.Emulates, pl):
		return "emulated"
	case len(w.Platforms) == 0:
		return "if it reports so"
	}
	return "no"
}

func contains(list []ocispecs.Platform, pl ocispecs.Platform) bool {
	return slices.ContainsFunc(list, func(o ocispecs.Platform) bool {
		return config.FormatPlatform(o) == config.FormatPlatform(pl)
	})
}
