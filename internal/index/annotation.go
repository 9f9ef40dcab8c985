package index

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Level is where an annotation goes.
type Level string

// The levels of docker bake.
const (
	// LevelIndex is the index's own annotations.
	LevelIndex Level = "index"
	// LevelIndexDescriptor is the descriptor by which a layout names the
	// index. A registry has no place for it.
	LevelIndexDescriptor Level = "index-descriptor"
	// LevelManifest is in the manifest of each image: BuildKit writes it, since
	// it changes the image's digest.
	LevelManifest Level = "manifest"
	// LevelManifestDescriptor is the descriptor by which the index names an
	// image.
	LevelManifestDescriptor Level = "manifest-descriptor"
)

var levels = []Level{LevelIndex, LevelIndexDescriptor, LevelManifest, LevelManifestDescriptor}

// Annotation is one key at one level.
type Annotation struct {
	Level Level
	// Platform limits the manifest levels to one image; nil means all.
	Platform *ocispecs.Platform
	Key      string
	Value    string
}

// ParseAnnotation reads docker bake's form, "[LEVEL[,LEVEL…]:]KEY=VALUE" with
// an optional "[PLATFORM]" after a level. Without a level it is the manifest's.
func ParseAnnotation(text string) ([]Annotation, error) {
	bad := func(reason string) ([]Annotation, error) {
		return nil, fmt.Errorf("reading annotation %q: %s; write index:org.opencontainers.image.title=hello, or manifest-descriptor[linux/arm64]:KEY=VALUE", text, reason)
	}
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return bad(`there is no "="`)
	}
	where, key, ok := strings.Cut(name, ":")
	// A key may hold a colon itself: a prefix that is no level belongs to it.
	if !ok || !slices.Contains(levels, Level(levelName(strings.Split(where, ",")[0]))) {
		where, key = string(LevelManifest), name
	}
	if key == "" {
		return bad("the key is empty")
	}
	var parsed []Annotation
	for _, part := range strings.Split(where, ",") {
		a := Annotation{Level: Level(levelName(part)), Key: key, Value: value}
		if !slices.Contains(levels, a.Level) {
			return bad(fmt.Sprintf("there is no level %q (there are index, manifest, index-descriptor, manifest-descriptor)", a.Level))
		}
		if rest := part[len(a.Level):]; rest != "" {
			if a.Level == LevelIndex || a.Level == LevelIndexDescriptor {
				return bad(fmt.Sprintf("the level %q is not of one platform", a.Level))
			}
			if !strings.HasSuffix(rest, "]") {
				return bad(`the "[" is not closed`)
			}
			p, err := platforms.Parse(rest[1 : len(rest)-1])
			if err != nil {
				return bad(fmt.Sprintf("%q is no platform", rest[1:len(rest)-1]))
			}
			p = platforms.Normalize(p)
			a.Platform = &p
		}
		parsed = append(parsed, a)
	}
	return parsed, nil
}

func levelName(part string) string {
	name, _, _ := strings.Cut(part, "[")
	return name
}
