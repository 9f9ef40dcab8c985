package index

import (
	"fmt"
	"slices"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// claim normalises the platforms of the children and gives those that an
// override claims by their source the platform it claims them for.
func claim(a Assembly) ([]Child, error) {
	children := slices.Clone(a.Children)
	for i := range children {
		children[i].Platform = normalized(children[i].Platform)
	}
	for _, o := range a.Overrides {
		if o.Source == "" {
			continue
		}
		claimed := -1
		for i, child := range children {
			if child.Ref != o.Source {
				continue
			}
			if claimed >= 0 {
				return nil, &PlatformError{a.Target, format(o.Platform), fmt.Sprintf("source %q is an index of several images, so it cannot be said to be for one platform; name the one image by its digest", o.Source)}
			}
			claimed = i
		}
		if claimed < 0 {
			return nil, &PlatformError{a.Target, format(o.Platform), fmt.Sprintf("source %q is none of the target's sources; add it there", o.Source)}
		}
		children[claimed].Platform = normalized(o.Platform)
	}
	for i, child := range children {
		children[i].repair = slices.ContainsFunc(a.Overrides, func(o Override) bool {
			return o.Repair && format(o.Platform) == format(child.Platform)
		})
	}
	return children, nil
}

// String names a child as a user knows it.
func (c Child) String() string {
	if c.Ref != "" {
		return c.Ref + " (" + c.Digest.String() + ")"
	}
	return c.Digest.String()
}

func claimHint(c Child) string {
	if c.Ref == "" {
		return ""
	}
	return fmt.Sprintf("; if one of them is for another platform, claim it: platform \"OS/ARCH/VARIANT\" { source = %q, repair = true }", c.Ref)
}

// mayMiss tells whether the index may be without a platform.
func (a Assembly) mayMiss(p ocispecs.Platform) bool {
	return slices.ContainsFunc(a.Overrides, func(o Override) bool { return o.Optional && format(o.Platform) == format(p) })
}

func missing(children []Child) string {
	var have []string
	for _, c := range children {
		if c.Ref != "" {
			have = append(have, format(c.Platform))
		}
	}
	if len(have) == 0 {
		return "its image is missing; run build first"
	}
	return fmt.Sprintf("none of the sources has it (they have %s); add a source, or remove it from platforms", strings.Join(have, ", "))
}
