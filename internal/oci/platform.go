package oci

import (
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// FormatPlatform returns os/arch[/variant], normalised, without the version
// and features of the operating system.
func FormatPlatform(p ocispecs.Platform) string {
	return platforms.Format(platforms.Normalize(p))
}

// PlatformConflict says what of an image's config the platform of its index
// entry contradicts; "" if nothing. An os.version that one of them leaves open
// contradicts nothing; of the os.features an entry must name all that the
// config needs.
func PlatformConflict(config, entry ocispecs.Platform) string {
	c, e := platforms.Normalize(config), platforms.Normalize(entry)
	switch {
	case c.OS != e.OS || c.Architecture != e.Architecture || c.Variant != e.Variant:
		return fmt.Sprintf("the platform %s contradicts the image's config, which says %s", platforms.Format(e), platforms.Format(c))
	case entry.OSVersion != "" && config.OSVersion != "" && config.OSVersion != entry.OSVersion:
		return fmt.Sprintf("os_version %q contradicts the image's config, which says %q", entry.OSVersion, config.OSVersion)
	}
	for _, feature := range config.OSFeatures {
		if !slices.Contains(entry.OSFeatures, feature) {
			return fmt.Sprintf("os_features %q leave out %q, which the image's config needs", entry.OSFeatures, feature)
		}
	}
	return ""
}
