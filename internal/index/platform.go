package index

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// PlatformError says that an image is not for the platform it was asked for,
// or that the platforms of a target are not those it should have.
type PlatformError struct {
	// Target is the target that was assembled.
	Target string
	// Platform is the platform asked for, "linux/arm/v7".
	Platform string
	// Reason says what is wrong, and what to do next.
	Reason string
}

// Error implements error.
func (e *PlatformError) Error() string {
	return fmt.Sprintf("target %q, platform %q: %s", e.Target, e.Platform, e.Reason)
}

// configPlatform reads the platform of an image config. It is normalised only
// if the config states one: the library would fill in this machine's.
func configPlatform(raw []byte) (ocispecs.Platform, error) {
	var image ocispecs.Image
	if err := json.Unmarshal(raw, &image); err != nil {
		return ocispecs.Platform{}, fmt.Errorf("its config is not readable: %w", err)
	}
	if image.OS == "" || image.Architecture == "" {
		return ocispecs.Platform{}, fmt.Errorf("its config states no platform (os %q, architecture %q)", image.OS, image.Architecture)
	}
	return platforms.Normalize(image.Platform), nil
}

// normalized is platforms.Normalize, which keeps what the caller holds.
func normalized(p ocispecs.Platform) ocispecs.Platform {
	p.OSFeatures = slices.Clone(p.OSFeatures)
	return platforms.Normalize(p)
}

// format is a platform as users write it, normalised.
func format(p ocispecs.Platform) string { return platforms.FormatAll(platforms.Normalize(p)) }
