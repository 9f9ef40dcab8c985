// Package plan turns a configuration into the frozen graph of a release: which
// platform of which target, from what, into which repositories.
package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/hashicorp/hcl/v2"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/oci"
)

// Plan is what a release does, decided before anything is touched. It is
// deterministic: the same configuration gives the same plan.
type Plan struct {
	// Targets stand behind the targets they build on, otherwise in the order
	// asked for.
	Targets    []*Target
	Workers    []*config.Worker
	Registries []*config.Registry
	Devices    []*config.Device
	Release    config.Release
	// Audit is the `audit` block for all targets, or nil.
	Audit *config.Audit
	// Hooks run around the steps of a release.
	Hooks []*config.Hook
	// Files are the configuration files read.
	Files []string
	// Warnings are what a release can do and was hardly meant.
	Warnings hcl.Diagnostics
}

// Target is one image of the plan.
type Target struct {
	Name string
	// Spec is the target with everything inherited.
	Spec *config.Target
	// Tags are complete references, in the order declared.
	Tags []Tag
	// Builds are in the order of `platforms`; a target with sources has none.
	Builds []*Build
	// Sources are the images that the target's index is made of, instead of
	// builds.
	Sources []string
	// Platforms are those that a target with sources shall have, in order; nil
	// means all that its sources have.
	Platforms []ocispecs.Platform
	// Partial says that sources may have other platforms too, which are left
	// out: Options.Platforms asked for some.
	Partial bool
	// Needs are the targets named in its contexts.
	Needs []*Target
	// Linked targets are built because another needs them; their tags are not
	// published.
	Linked bool
	// Image reports that an output is an image that is pushed.
	Image bool
	// Outputs are what is written to files.
	Outputs []Output
	// Call is what the frontend is asked instead of building: lint, outline,
	// targets; "" for a target that is built.
	Call string
	// Called is what it is asked of: the first platform. The target has no
	// builds then.
	Called *Build
}

// Published reports whether a release moves the target's tags.
func (t *Target) Published() bool { return t.Image && !t.Linked }

// Fields are what a platform block says of the descriptor of an image. Empty
// ones say nothing.
type Fields struct {
	// Platform is the image the block is for.
	Platform ocispecs.Platform
	// Source is the one of the target's sources that the image is, where the
	// image itself does not say that it is for Platform.
	Source                               string
	OS, Architecture, Variant, OSVersion string
	OSFeatures                           []string
	// Clear names the fields to leave empty: "variant", "os_version",
	// "os_features".
	Clear []string
	// Repair allows to write another config where it contradicts the fields.
	Repair bool
	// Optional lets the index be without the platform.
	Optional bool
}

// Fields are those of the target's platform blocks that say anything of the
// platforms that are in the plan, or of a source.
func (t *Target) Fields() []Fields {
	var out []Fields
	for _, o := range t.Spec.Overrides {
		there := slices.ContainsFunc(t.Builds, func(b *Build) bool { return b.PlatformName() == config.FormatPlatform(o.Platform) })
		if len(t.Sources) > 0 {
			there = !t.Partial || contains(t.Platforms, o.Platform)
		}
		if !there && o.Source == nil {
			continue
		}
		// Whom a source is claimed for counts also where that platform is left out.
		f := Fields{Platform: o.Platform, OSFeatures: o.OSFeatures, Repair: o.Repair != nil && *o.Repair, Optional: !there || o.Optional != nil && *o.Optional}
		if o.Source != nil {
			f.Source = *o.Source
		}
		for _, field := range []struct {
			name  string
			dst   *string
			value *string
		}{{"os", &f.OS, o.OS}, {"architecture", &f.Architecture, o.Architecture}, {"variant", &f.Variant, o.Variant}, {"os_version", &f.OSVersion, o.OSVersion}} {
			switch {
			case field.value == nil:
			case *field.value == "":
				f.Clear = append(f.Clear, field.name)
			default:
				*field.dst = *field.value
			}
		}
		if o.OSFeatures != nil && len(o.OSFeatures) == 0 {
			f.OSFeatures = nil
			f.Clear = append(f.Clear, "os_features")
		}
		if f.Source != "" || f.OS != "" || f.Architecture != "" || f.Variant != "" || f.OSVersion != "" || f.OSFeatures != nil || f.Clear != nil || f.Repair {
			out = append(out, f)
		}
	}
	return out
}

// Tag is a reference taken apart.
type Tag struct {
	// Repository with its registry host: docker.io/acme/app.
	Repository string
	Name       string
}

func (t Tag) String() string { return t.Repository + ":" + t.Name }

// Host is the registry host of a repository with its host.
func Host(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	return host
}

// Build is one solve: one platform of one target.
type Build struct {
	Target   *Target
	Platform ocispecs.Platform
	// Spec is the target's with the platform block laid over it.
	Spec *config.Target
	// Repository takes the image, by digest; "" where no image is pushed.
	Repository string
	// Passed reports that the image is not pushed, and others are built on it.
	Passed bool
	// Needs are the builds whose images its named contexts are, by context name.
	Needs map[string]*Build
	// OSVersion and OSFeatures go into the child's descriptor.
	OSVersion  string
	OSFeatures []string
	// Optional builds may be missing from a release.
	Optional bool
}

// PlatformName is the platform as os/arch/variant.
func (b *Build) PlatformName() string { return config.FormatPlatform(b.Platform) }

// ID names the build for people and records: "hello linux/arm/v6".
func (b *Build) ID() string { return b.Target.Name + " " + b.PlatformName() }

// Builds are all builds of the plan, bases first.
func (p *Plan) Builds() []*Build {
	var out []*Build
	for _, t := range p.Targets {
		out = append(out, t.Builds...)
	}
	return out
}

// Published are the targets whose tags a release moves.
func (p *Plan) Published() []*Target {
	var out []*Target
	for _, t := range p.Targets {
		if t.Published() {
			out = append(out, t)
		}
	}
	return out
}

// Repositories of the target's tags, in order of first appearance.
func (t *Target) Repositories() []string {
	var out []string
	for _, tag := range t.Tags {
		if !slices.Contains(out, tag.Repository) {
			out = append(out, tag.Repository)
		}
	}
	return out
}

// sourceRepositories are those of the target's sources.
func (t *Target) sourceRepositories() []string {
	var out []string
	for _, s := range t.Sources {
		if named, err := reference.ParseNormalizedNamed(s); err == nil { // said by config otherwise
			out = append(out, named.Name())
		}
	}
	return out
}

// Hosts are the registries that the plan reads sources from or pushes to.
func (p *Plan) Hosts() []string {
	var out []string
	for _, t := range p.Targets {
		repos := t.sourceRepositories()
		if t.Published() {
			repos = append(repos, t.Repositories()...)
		}
		for _, b := range t.Builds {
			repos = append(repos, b.Repository)
		}
		for _, r := range repos {
			if h := Host(r); r != "" && !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Registry returns the registry block of a host, or an empty one.
func (p *Plan) Registry(host string) *config.Registry {
	for _, r := range p.Registries {
		if oci.SameRegistry(r.Host, host) {
			return r
		}
	}
	return &config.Registry{Host: host}
}

func parseTag(s string) (Tag, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Tag{}, fmt.Errorf("parsing the tag %q: %w", s, err)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return Tag{}, fmt.Errorf("parsing the tag %q: it names a digest", s)
	}
	return Tag{Repository: tagged.Name(), Name: tagged.Tag()}, nil
}
