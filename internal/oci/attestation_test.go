package oci_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// layersOf are what a manifest may hold; true where all of it is in-toto.
var layersOf = map[string]bool{
	"":                             false,
	"application/vnd.in-toto+json": true,
	"application/vnd.in-toto+json application/vnd.in-toto+json":                           true,
	"application/vnd.in-toto.spdx+dsse application/vnd.in-toto+dsse":                      true,
	"application/vnd.in-toto+json application/vnd.oci.image.layer.v1.tar+gzip":            false,
	"application/vnd.oci.image.layer.v1.tar+gzip application/vnd.in-toto+json":            false,
	"application/vnd.oci.image.layer.v1.tar":                                              false,
	"application/vnd.docker.image.rootfs.diff.tar.gzip":                                   false,
	"application/octet-stream":                                                            false,
	"application/vnd.in-toto+json+gzip":                                                   false,
	"x-application/vnd.in-toto+json":                                                      false,
	"application/vnd.in-totoXjson":                                                        false,
	"application/vnd.oci.image.layer.nondistributable.v1.tar application/vnd.acme.blob":   false,
	"application/vnd.in-toto+json application/vnd.in-toto+json application/vnd.acme.blob": false,
}

// The answers are given here part by part: an entry is an attestation where
// every part is one's, none of anybody's business where it does not say that
// it is, and an error else.
func TestAttestation(t *testing.T) {
	t.Parallel()
	types := map[string]bool{"": false, "attestation-manifest": true, "signature-manifest": false, "Attestation-Manifest": false}
	unknown := &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	platforms := map[*ocispecs.Platform]bool{
		nil: false, unknown: true,
		{OS: "linux", Architecture: "arm64"}:                      false,
		{OS: "linux", Architecture: "unknown"}:                    false,
		{OS: "unknown", Architecture: "arm64"}:                    false,
		{OS: "Unknown", Architecture: "unknown"}:                  false,
		{OS: "unknown", Architecture: "unknown", Variant: "v7"}:   false,
		{OS: "unknown", Architecture: "unknown", OSVersion: "10"}: false,
		{}: false,
	}
	entryTypes := map[string]bool{
		ocispecs.MediaTypeImageManifest: true, oci.MediaTypeDockerManifest: true,
		ocispecs.MediaTypeImageIndex: false, oci.MediaTypeDockerManifestList: false, "application/json": false, "": false,
	}
	artifactTypes := map[string]bool{
		"": true, "application/vnd.docker.attestation.manifest.v1+json": true, "application/vnd.in-toto+json": true,
		"application/vnd.cncf.helm.chart.v1": false,
	}
	configs := map[string]bool{
		ocispecs.MediaTypeImageConfig: true, oci.MediaTypeDockerConfig: true, ocispecs.MediaTypeEmptyJSON: true, "application/vnd.in-toto+json": true,
		"application/vnd.cncf.helm.config.v1+json": false, "application/octet-stream": false, "": false, "none": false,
	}
	seen := map[bool]int{}
	for artifactType, artifactFits := range artifactTypes {
		for config, configFits := range configs {
			for layers, layersFit := range layersOf {
				m := manifest(t, artifactType, config, strings.Fields(layers))
				content := artifactFits && configFits && layersFit
				if holds := oci.HoldsStatements(m); holds != content {
					t.Fatalf("%s holds statements: %t", m, holds)
				}
				for typ, claims := range types {
					for p, platformFits := range platforms {
						for entryType, entryFits := range entryTypes {
							entry := ocispecs.Descriptor{MediaType: entryType, Digest: digest.FromString("x"), Platform: p}
							if typ != "" {
								entry.Annotations = map[string]string{"vnd.docker.reference.type": typ}
							}
							whole := platformFits && entryFits && content
							got, err := oci.Attestation(entry, m)
							var no *oci.AttestationError
							if got != (claims && whole) || errors.As(err, &no) != (claims && !whole) {
								t.Fatalf("%v as %s: %t, %v", entry, m, got, err)
							}
							seen[got]++
						}
					}
				}
			}
		}
	}
	t.Logf("%d are attestations, %d are not", seen[true], seen[false])
}

func manifest(t *testing.T, artifactType, config string, layers []string) []byte {
	t.Helper()
	m := map[string]any{"schemaVersion": 2, "mediaType": ocispecs.MediaTypeImageManifest}
	if artifactType != "" {
		m["artifactType"] = artifactType
	}
	if config != "none" {
		m["config"] = ocispecs.Descriptor{MediaType: config, Digest: digest.FromString("config")}
	}
	var descs []ocispecs.Descriptor
	for _, l := range layers {
		// What a layer is annotated with says nothing of what it is.
		descs = append(descs, ocispecs.Descriptor{MediaType: l, Annotations: map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}})
	}
	m["layers"] = descs
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Manifests that are two things at once, or none.
func TestAttestationOddManifests(t *testing.T) {
	t.Parallel()
	entry := ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString("x"), Platform: &ocispecs.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
	}
	const good = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[{"mediaType":"application/vnd.in-toto+json"}]`
	for text, want := range map[string]bool{
		`{` + good + `}`: true,
		`{"mediaType":"application/vnd.docker.distribution.manifest.v2+json",` + good + `}`: true,
		`{"mediaType":"application/vnd.oci.image.index.v1+json",` + good + `}`:              false,
		`{"manifests":[{"platform":{"os":"linux","architecture":"arm64"}}],` + good + `}`:   false,
		`{` + good + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar"}]}`:  false,
		`{` + good + `,"Layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar"}]}`:  false,
		`{"config":null,"layers":[{"mediaType":"application/vnd.in-toto+json"}]}`:           false,
		`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":null}`: false,
		``: false, `null`: false, `[]`: false, `{}`: false, `{"layers":{}}`: false, "\x00": false,
	} {
		if got, err := oci.Attestation(entry, []byte(text)); got != want || (err == nil) != want {
			t.Errorf("%s: %t, %v; want %t", text, got, err, want)
		}
	}
}

// Whatever the bytes: no part of an attestation is anything but in-toto.
func FuzzAttestation(f *testing.F) {
	f.Add([]byte(`{"config":{"mediaType":"application/vnd.oci.empty.v1+json"},"layers":[{"mediaType":"application/vnd.in-toto+json"}]}`))
	f.Add([]byte(`{"layers":[{"MediaType":"application/vnd.in-toto+json","mediatype":"application/vnd.oci.image.layer.v1.tar"}],"config":{}}`))
	f.Add([]byte(`{"manifests":[]}`))
	entry := ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageManifest, Platform: &ocispecs.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ok, err := oci.Attestation(entry, raw)
		if ok == (err != nil) {
			t.Fatalf("%t and %v", ok, err)
		}
		if !ok {
			return
		}
		var m ocispecs.Manifest // as others read it
		if err := json.Unmarshal(raw, &m); err != nil || len(m.Layers) == 0 {
			t.Fatalf("%q: %v, %d layers", raw, err, len(m.Layers))
		}
		for _, l := range m.Layers {
			if !strings.HasPrefix(l.MediaType, "application/vnd.in-toto") {
				t.Fatalf("%q has a layer of type %q", raw, l.MediaType)
			}
		}
	})
}
