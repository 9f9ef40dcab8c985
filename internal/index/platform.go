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

// contradicts tells how a config's platform differs from the one asked for;
// "" if it does not. os.version and os.features are compared where asked for.
func contradicts(config, want ocispecs.Platform) string {
	c, w := config, want
	if w.OSVersion == "" {
		c.OSVersion = ""
	}
	if platforms.FormatAll(withoutFeatures(c)) != platforms.FormatAll(withoutFeatures(w)) {
		return fmt.Sprintf("its config says %s", format(c))
	}
	for _, feature := range w.OSFeatures {
		if !slices.Contains(config.OSFeatures, feature) {
			return fmt.Sprintf("its config does not have the os feature %q", feature)
		}
	}
	return ""
}

func withoutFeatures(p ocispecs.Platform) ocispecs.Platform {
	p.OSFeatures = nil
	return p
}

// normalized is platforms.Normalize, which keeps what the caller holds.
func normalized(p ocispecs.Platform) ocispecs.Platform {
	p.OSFeatures = slices.Clone(p.OSFeatures)
	return platforms.Normalize(p)
}

// format is a platform as users write it, normalised.
func format(p ocispecs.Platform) string { return platforms.FormatAll(platforms.Normalize(p)) }
