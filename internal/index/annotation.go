package index

import (
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

// Annotation is one key at one level.
type Annotation struct {
	Level Level
	// Platform limits the manifest levels to one image; nil means all.
	Platform *ocispecs.Platform
	Key      string
	Value    string
}
