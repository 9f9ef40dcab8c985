package sign

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// What cosign names its signatures by in a registry:
// https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
const (
	// MediaTypePayload is the media type of a payload.
	MediaTypePayload = "application/vnd.dev.cosign.simplesigning.v1+json"
	// AnnotationSignature is the annotation of a payload's descriptor that
	// holds its signature in base64.
	AnnotationSignature = "dev.cosignproject.cosign/signature"
)

// Payload returns what is signed of a manifest: its digest, and the repository
// (in full, "index.docker.io/acme/app") that it is claimed to be of. The same
// arguments give the same bytes.
func Payload(repository string, manifest digest.Digest) ([]byte, error) {
	raw, err := json.Marshal(payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: repository},
		Image:    payload.Image{DockerManifestDigest: manifest.String()},
		Type:     payload.CosignSignatureType,
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding what is signed of %q: %w", manifest, err)
	}
	return raw, nil
}

// Tag returns the tag by which cosign finds the signatures of a manifest.
func Tag(manifest digest.Digest) string {
	return manifest.Algorithm().String() + "-" + manifest.Encoded() + ".sig"
}
