package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// Media types of Docker, and annotations.
// https://distribution.github.io/distribution/spec/manifest-v2-2/
const (
	mediaTypeDockerList     = oci.MediaTypeDockerManifestList
	mediaTypeDockerManifest = oci.MediaTypeDockerManifest
	mediaTypeSchema1        = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeSchema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"

	annotationPredicate = oci.AnnotationPredicateType

	// annotationOwn begins the keys by which a draft keeps its own state.
	annotationOwn = "io.github.archmage-build."
)

// withoutOwn leaves out what a layout keeps beside the image.
func withoutOwn(annotations map[string]string) map[string]string {
	kept := maps.Clone(annotations)
	maps.DeleteFunc(kept, func(key, _ string) bool {
		return key == ocispecs.AnnotationRefName || strings.HasPrefix(key, annotationOwn)
	})
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// nameAttestations names each attestation after what is in it and the sibling
// it is about.
func nameAttestations(n *Node) {
	about := map[digest.Digest]string{}
	for _, child := range n.Children {
		if child.Kind != KindAttestation {
			about[child.Digest] = child.Name
		}
	}
	for i := range n.Children {
		child := &n.Children[i]
		if child.Kind != KindAttestation {
			nameAttestations(child)
			continue
		}
		subject, ok := about[child.Subject]
		if !ok {
			subject = fmt.Sprintf("an image that is not here (%s)", child.Subject)
		}
		child.Name = predicateNames(child.Predicates) + " of " + subject
	}
}

// predicateNames says what an attestation holds: "SBOM and provenance".
func predicateNames(predicates []string) string {
	var names []string
	for _, p := range predicates {
		name := p
		switch {
		case strings.HasPrefix(p, "https://spdx.dev/"), strings.HasPrefix(p, "https://cyclonedx.org/"):
			name = "SBOM"
		case strings.HasPrefix(p, "https://slsa.dev/provenance/"):
			name = "provenance"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return "attestation"
	case 1:
		return names[0]
	}
	// SBOM sorts before provenance, whatever order they were made in.
	slices.Sort(names)
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// artifactName says in words what a well-known artifact is, by its artifact
// or config media type and those of its layers.
func artifactName(artifactType string, layers ...string) string {
	for _, t := range append([]string{artifactType}, layers...) {
		switch {
		case strings.HasPrefix(t, "application/vnd.cncf.helm."):
			return "Helm chart"
		case strings.HasPrefix(t, "application/vnd.dev.cosign.simplesigning."), strings.HasPrefix(t, "application/vnd.cncf.notary.signature"):
			return "signature"
		case strings.HasPrefix(t, "application/vnd.dev.sigstore.bundle."):
			return "Sigstore bundle (signature or attestation)"
		case strings.HasPrefix(t, "application/vnd.dsse.envelope."), strings.HasPrefix(t, "application/vnd.in-toto"):
			return "attestation"
		case strings.HasPrefix(t, "application/spdx"), strings.HasPrefix(t, "text/spdx"), strings.HasPrefix(t, "application/vnd.cyclonedx"):
			return "SBOM"
		case strings.HasPrefix(t, "application/vnd.wasm."), t == "application/wasm":
			return "WebAssembly module"
		}
	}
	if artifactType == "" {
		return "artifact of no stated type"
	}
	return "artifact " + artifactType
}

func layerTypes(layers []ocispecs.Descriptor) []string {
	types := make([]string, len(layers))
	for i, layer := range layers {
		types[i] = layer.MediaType
	}
	return types
}

// readConfig takes what matters out of an image config.
func readConfig(raw []byte, desc ocispecs.Descriptor) (*Config, error) {
	var image ocispecs.Image
	if err := json.Unmarshal(raw, &image); err != nil {
		return nil, fmt.Errorf("its config is not readable: %w", err)
	}
	// Docker alone has it, so that a mistake in it makes no config unreadable.
	var docker struct {
		Config struct{ Healthcheck struct{ Test []string } }
	}
	_ = json.Unmarshal(raw, &docker)
	test := docker.Config.Healthcheck.Test
	switch {
	case len(test) > 1 && test[0] == "CMD":
		test = test[1:]
	case len(test) == 2 && test[0] == "CMD-SHELL":
		test = []string{"/bin/sh", "-c", test[1]}
	default:
		test = nil
	}
	return &Config{
		Healthcheck:  test,
		Digest:       desc.Digest,
		Size:         desc.Size,
		OS:           image.OS,
		Architecture: image.Architecture,
		Variant:      image.Variant,
		OSVersion:    image.OSVersion,
		Created:      image.Created,
		Entrypoint:   image.Config.Entrypoint,
		Cmd:          image.Config.Cmd,
		User:         image.Config.User,
		Env:          image.Config.Env,
		WorkingDir:   image.Config.WorkingDir,
		Ports:        slices.Sorted(maps.Keys(image.Config.ExposedPorts)),
		Labels:       image.Config.Labels,
		DiffIDs:      image.RootFS.DiffIDs,
	}, nil
}

func surrogates(r rune) (high, low rune) { return utf16.EncodeRune(r) }
