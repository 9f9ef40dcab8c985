package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// Override sets platform fields of an image's descriptor, or says which image
// is for a platform. Empty fields leave what there is.
type Override struct {
	// Platform is the image it is for.
	Platform ocispecs.Platform
	// Source is the reference the image was resolved from. It claims that
	// image for Platform, whatever the image itself says.
	Source                               string
	OS, Architecture, Variant, OSVersion string
	OSFeatures                           []string
	// Clear names fields to leave empty: "variant", "os_version",
	// "os_features".
	Clear []string
	// Repair writes a corrected config and manifest, as a new child, where the
	// image's own config contradicts. Attestations of the old child are about
	// its digest, so they are left out; Draft.Repaired tells.
	Repair bool
	// Optional lets the index be without the platform.
	Optional bool
}

// changes tells whether the override says anything of the descriptor.
func (o Override) changes() bool {
	return o.OS != "" || o.Architecture != "" || o.Variant != "" || o.OSVersion != "" || o.OSFeatures != nil || len(o.Clear) > 0
}

// apply lays the fields over a platform.
func (o Override) apply(p ocispecs.Platform) ocispecs.Platform {
	set := func(dst *string, value, name string) {
		if value != "" {
			*dst = value
		}
		if slices.Contains(o.Clear, name) {
			*dst = ""
		}
	}
	set(&p.OS, o.OS, "os")
	set(&p.Architecture, o.Architecture, "architecture")
	set(&p.Variant, o.Variant, "variant")
	set(&p.OSVersion, o.OSVersion, "os_version")
	if o.OSFeatures != nil {
		p.OSFeatures = append([]string(nil), o.OSFeatures...)
	}
	if slices.Contains(o.Clear, "os_features") {
		p.OSFeatures = nil
	}
	return p
}

// override lays fields over the descriptors that they are for and returns the
// blobs of the children it had to make.
func (d *Draft) override(o Override) ([][]byte, error) {
	if !o.changes() {
		return nil, nil // who is for which platform was settled by Assemble
	}
	matched, err := d.matching(&o.Platform)
	if err != nil {
		if o.Optional {
			return nil, nil
		}
		return nil, fmt.Errorf("overriding the platform of target %q: %w", d.Target, err)
	}
	var blobs [][]byte
	var manifests []ocispecs.Descriptor
	gone := map[string]int{} // old digest to the position among Repaired
	for i, desc := range d.Index.Manifests {
		if !slices.Contains(matched, i) {
			manifests = append(manifests, desc)
			continue
		}
		name := format(o.Platform)
		config := *desc.Platform // taken from the config by Assemble
		p := o.apply(config)
		if p.OS == "" || p.Architecture == "" {
			return nil, &PlatformError{d.Target, name, "the platform of a descriptor must have an os and an architecture; set them to another value instead of clearing them"}
		}
		reason := oci.PlatformConflict(config, p)
		if reason != "" && !o.Repair {
			return nil, &PlatformError{d.Target, name, reason + "; remove the override, build from another base, or set repair = true to write a corrected config"}
		}
		if reason != "" {
			fixed, err := d.repair(desc, p)
			if err != nil {
				return nil, err
			}
			gone[desc.Digest.String()] = len(d.repaired) - 1
			blobs = append(blobs, fixed.config, fixed.manifest)
			desc = fixed.desc
		}
		desc.Platform = &p
		manifests = append(manifests, desc)
	}
	d.Index.Manifests = slices.DeleteFunc(manifests, func(desc ocispecs.Descriptor) bool {
		i, orphan := gone[desc.Annotations[oci.AnnotationReferenceDigest]]
		if orphan = orphan && isAttestation(desc); orphan {
			d.repaired[i].Attestations++
		}
		return orphan
	})
	return blobs, d.distinct()
}

// distinct refuses two images for one platform.
func (d *Draft) distinct() error {
	taken := map[string]digest.Digest{}
	for _, desc := range d.Children() {
		name := format(*desc.Platform)
		if other, twice := taken[name]; twice {
			return &PlatformError{d.Target, name, fmt.Sprintf("two images are for it after the override (%s and %s); a client would take the first and never see the other", other, desc.Digest)}
		}
		taken[name] = desc.Digest
	}
	return nil
}

// Repaired is a child that was written anew with a corrected config.
type Repaired struct {
	// Platform is what the config says now.
	Platform string `json:"platform"`
	// From is the image as it was built or found, To the corrected one.
	From digest.Digest `json:"from"`
	To   digest.Digest `json:"to"`
	// Attestations is how many attestation manifests were left out with it.
	Attestations int `json:"attestations,omitempty"`
}

// Repaired lists the children of the draft that were written anew.
func (d *Draft) Repaired() []Repaired { return slices.Clone(d.repaired) }

func (d *Draft) isRepaired(child digest.Digest) bool {
	return slices.ContainsFunc(d.repaired, func(r Repaired) bool { return r.To == child })
}

// forgetRepairs drops what earlier overrides made, for an index that was
// reset to what Assemble made.
func (d *Draft) forgetRepairs() {
	named := map[digest.Digest]bool{}
	for _, desc := range d.Index.Manifests {
		named[desc.Digest] = true
	}
	d.repaired = slices.DeleteFunc(d.repaired, func(r Repaired) bool {
		if !named[r.To] {
			delete(d.sources, r.To)
		}
		return !named[r.To]
	})
}

// repair makes a child whose config says p and notes it.
func (d *Draft) repair(desc ocispecs.Descriptor, p ocispecs.Platform) (part, error) {
	raw, err := d.Blob(desc)
	if err != nil {
		return part{}, err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return part{}, d.store.damaged("manifest "+desc.Digest.String(), err)
	}
	config, err := d.store.blob(m.Config.Digest)
	if err != nil {
		return part{}, err
	}
	fixed, err := part{desc: desc, manifest: raw, config: config}.correct(p)
	if err != nil {
		return part{}, fmt.Errorf("repairing the config of target %q, platform %q: %w", d.Target, format(p), err)
	}
	d.repaired = append(d.repaired, Repaired{Platform: format(p), From: desc.Digest, To: fixed.desc.Digest})
	d.sources[fixed.desc.Digest] = d.sources[desc.Digest]
	return fixed, nil
}

// correct returns the image with a config that says p. Only the platform of
// the config and the manifest's descriptor of it change; what else they hold,
// known or not, is kept.
func (p part) correct(platform ocispecs.Platform) (part, error) {
	config, err := edit(p.config, map[string]any{
		"os": platform.OS, "architecture": platform.Architecture, "variant": platform.Variant,
		"os.version": platform.OSVersion, "os.features": platform.OSFeatures,
	})
	if err != nil {
		return part{}, fmt.Errorf("reading its config: %w", err)
	}
	var manifest struct {
		Config json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(p.manifest, &manifest); err != nil {
		return part{}, fmt.Errorf("reading its manifest: %w", err)
	}
	reference, err := edit(manifest.Config, map[string]any{"digest": digest.FromBytes(config), "size": len(config), "data": nil})
	if err != nil {
		return part{}, fmt.Errorf("reading its manifest: %w", err)
	}
	raw, err := edit(p.manifest, map[string]any{"config": json.RawMessage(reference)})
	if err != nil {
		return part{}, fmt.Errorf("reading its manifest: %w", err)
	}
	fixed := part{desc: p.desc, manifest: raw, config: config}
	fixed.desc.Digest, fixed.desc.Size = digest.FromBytes(raw), int64(len(raw))
	fixed.desc.Platform = &platform
	return fixed, nil
}

// edit sets members of a JSON object, or removes those whose value is empty.
func edit(raw []byte, values map[string]any) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	if object == nil {
		return nil, errors.New("it is no JSON object")
	}
	for key, value := range values {
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		switch string(encoded) {
		case `""`, "null", "[]":
			delete(object, key)
		default:
			object[key] = encoded
		}
	}
	return json.Marshal(object)
}
