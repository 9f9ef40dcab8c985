package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotation is one element of a target's annotations, taken apart.
type Annotation struct {
	// Level is where it is written: "manifest", "index", "manifest-descriptor"
	// or "index-descriptor".
	Level string
	// Platform limits it to one child; nil means all.
	Platform *ocispecs.Platform
	Key      string
	Value    string
}

var (
	annotationLevels = []string{"manifest", "index", "manifest-descriptor", "index-descriptor"}
	annotationType   = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/.-]+)\])?$`)
)

// ParseAnnotation reads bake's [level[,level…][platform]:]key=value. Several
// levels give several annotations; no level means manifest.
func ParseAnnotation(s string) ([]Annotation, error) {
	left, value, ok := strings.Cut(s, "=")
	if !ok {
		return nil, fmt.Errorf("the annotation %q is not key=value", s)
	}
	levels, key, ok := strings.Cut(left, ":")
	if !ok {
		levels, key = "manifest", left
	}
	if key == "" {
		return nil, fmt.Errorf("the annotation %q has an empty key", s)
	}
	var out []Annotation
	for _, l := range strings.Split(levels, ",") {
		m := annotationType.FindStringSubmatch(l)
		if m == nil || !slices.Contains(annotationLevels, m[1]) {
			return nil, fmt.Errorf("the annotation %q is for %q, which is none of %s", s, l, strings.Join(annotationLevels, ", "))
		}
		a := Annotation{Level: m[1], Key: key, Value: value}
		if m[2] != "" {
			p, err := ParsePlatform(m[2])
			if err != nil {
				return nil, fmt.Errorf("the annotation %q: the platform %w", s, err)
			}
			if strings.HasPrefix(m[1], "index") {
				return nil, fmt.Errorf("the annotation %q: an index is of all platforms, so it takes none", s)
			}
			a.Platform = &p
		}
		out = append(out, a)
	}
	return out, nil
}

// AnnotationList is the target's annotations, taken apart. It is called on
// targets that passed Load.
func (t *Target) AnnotationList() []Annotation {
	var out []Annotation
	for _, s := range t.Annotations {
		as, err := ParseAnnotation(s)
		if err != nil {
			continue
		}
		out = append(out, as...)
	}
	return out
}

// PlatformSpecs are the target's platforms, normalised and in order, without
// repetition; this machine's under Linux where it names none. A target with
// sources that names none has those of its sources, which are not known here.
func (t *Target) PlatformSpecs() []ocispecs.Platform {
	var names []string
	for _, list := range t.Platforms { // as bake takes "linux/amd64,linux/arm64"
		names = append(names, strings.Split(list, ",")...)
	}
	if len(names) == 0 && len(t.Sources) == 0 {
		names = []string{"local"}
	}
	seen := map[string]bool{}
	var out []ocispecs.Platform
	for _, n := range names {
		p, err := ParsePlatform(n)
		if err != nil || seen[FormatPlatform(p)] {
			continue
		}
		seen[FormatPlatform(p)] = true
		out = append(out, p)
	}
	return out
}
