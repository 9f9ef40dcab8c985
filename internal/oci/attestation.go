package oci

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations by which BuildKit ties an attestation manifest to its image.
// https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
const (
	AnnotationReferenceType   = "vnd.docker.reference.type"
	AnnotationReferenceDigest = "vnd.docker.reference.digest"
	// AnnotationPredicateType is on a layer: the type of its statement.
	AnnotationPredicateType = "in-toto.io/predicate-type"
)

const (
	attestationManifest     = "attestation-manifest"
	attestationArtifactType = "application/vnd.docker.attestation.manifest.v1+json"
	unknown                 = "unknown"
)

// statement matches the media types of in-toto statements and of their
// envelopes, with the kind of predicate or without.
// https://github.com/in-toto/attestation/blob/main/spec/v1/envelope.md
var statement = regexp.MustCompile(`^application/vnd\.in-toto(\.[a-z0-9-]+)*\+(json|dsse)$`)

// AttestationError says why an index entry that calls itself an attestation is
// none.
type AttestationError struct {
	Digest digest.Digest
	Reason string
}

func (e *AttestationError) Error() string {
	return fmt.Sprintf("%s calls itself an attestation and is none: %s", e.Digest, e.Reason)
}

// ClaimsAttestation reports whether an index entry calls itself an
// attestation. Whether it is one, Attestation says.
func ClaimsAttestation(entry ocispecs.Descriptor) bool {
	return entry.Annotations[AnnotationReferenceType] == attestationManifest
}

// AttestationEntry reports whether an index entry is set down as an
// attestation: it calls itself one, and no client picks it for a platform. A
// false claim is an *AttestationError. Its content is for Attestation to
// judge; this is for entries whose content was judged before, or is not read.
func AttestationEntry(entry ocispecs.Descriptor) (bool, error) {
	if !ClaimsAttestation(entry) {
		return false, nil
	}
	refuse := func(format string, args ...any) (bool, error) {
		return false, &AttestationError{Digest: entry.Digest, Reason: fmt.Sprintf(format, args...)}
	}
	if !IsManifest(entry.MediaType) {
		return refuse("its media type is %q", entry.MediaType)
	}
	p := entry.Platform
	if p == nil {
		return refuse("its platform is not stated; an attestation's is unknown/unknown")
	}
	if p.OS != unknown || p.Architecture != unknown || p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0 {
		return refuse("its platform is %s; an attestation's is unknown/unknown", FormatPlatform(*p))
	}
	return true, nil
}

// Attestation reports whether an index entry, with the manifest it names, is
// an attestation: its platform is unknown/unknown, so that no client picks it,
// and it holds in-toto statements and nothing else, so that there is nothing to
// run. Both forms that BuildKit writes are: with an image config and as an OCI
// artifact. An entry that calls itself an attestation and is none is an
// *AttestationError: whoever passes it over publishes what nobody looked at.
func Attestation(entry ocispecs.Descriptor, manifest []byte) (bool, error) {
	ok, err := AttestationEntry(entry)
	if !ok || err != nil {
		return false, err
	}
	if reason := notStatements(manifest); reason != "" {
		return false, &AttestationError{Digest: entry.Digest, Reason: reason}
	}
	return true, nil
}

// HoldsStatements reports whether a manifest holds in-toto statements and
// nothing else, however an index enters it.
func HoldsStatements(manifest []byte) bool { return notStatements(manifest) == "" }

// notStatements says what of a manifest is no in-toto statement, "" if nothing.
func notStatements(manifest []byte) string {
	var m struct {
		MediaType    string                `json:"mediaType"`
		ArtifactType string                `json:"artifactType"`
		Config       *ocispecs.Descriptor  `json:"config"`
		Layers       []ocispecs.Descriptor `json:"layers"`
		Manifests    []json.RawMessage     `json:"manifests"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Sprintf("its manifest is not readable: %v", err)
	}
	switch {
	case m.MediaType != "" && !IsManifest(m.MediaType):
		return fmt.Sprintf("it is of the media type %q", m.MediaType)
	case len(m.Manifests) > 0:
		return "it is an index"
	case m.ArtifactType != "" && m.ArtifactType != attestationArtifactType && !statement.MatchString(m.ArtifactType):
		return fmt.Sprintf("its artifact type is %q", m.ArtifactType)
	case m.Config == nil:
		return "it has no config"
	case len(m.Layers) == 0:
		return "it holds no statement"
	}
	if t := m.Config.MediaType; !IsImageConfig(t) && t != ocispecs.MediaTypeEmptyJSON && !statement.MatchString(t) {
		return fmt.Sprintf("its config is of the media type %q", t)
	}
	for i, layer := range m.Layers {
		if !statement.MatchString(layer.MediaType) {
			return fmt.Sprintf("part %d of %d is of the media type %q, which is no in-toto statement", i+1, len(m.Layers), layer.MediaType)
		}
	}
	return ""
}
