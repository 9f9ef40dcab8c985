// Package oci holds what every step must see alike of images and the places
// they lie in: media types, platforms, attestations, loopback hosts.
package oci

import ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

// Media types of Docker's image format.
// https://distribution.github.io/distribution/spec/manifest-v2-2/
const (
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerConfig       = "application/vnd.docker.container.image.v1+json"
)

// IsIndex reports whether a media type is that of an OCI index or a Docker
// manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageIndex || mediaType == MediaTypeDockerManifestList
}

// IsManifest reports whether a media type is that of an OCI or Docker image
// manifest, which names a config and layers.
func IsManifest(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageManifest || mediaType == MediaTypeDockerManifest
}

// IsImageConfig reports whether a media type is that of an image's config.
func IsImageConfig(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageConfig || mediaType == MediaTypeDockerConfig
}
