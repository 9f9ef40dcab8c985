// Package index takes an OCI image index from draft to tags: it assembles
// children that were pushed, annotates, uploads, promotes and reads back,
// never changing a child's bytes.
package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
)

// Annotations of a draft's descriptor in the layout's index.json. They stay on
// this machine: the index that is pushed does not hold them.
const (
	// annotationBase is the digest of the index as Assemble made it, so that
	// Annotate starts from the same every time.
	annotationBase = "io.github.archmage-build.base"
	// annotationSources is a JSON object: digest of a child or attestation to
	// the repository that holds it.
	annotationSources = "io.github.archmage-build.sources"
	// annotationRepaired is a JSON list of Repaired.
	annotationRepaired = "io.github.archmage-build.repaired"
	// annotationPlain allows that a single image is published without an index.
	annotationPlain = "io.github.archmage-build.plain"
	// annotationRefs is a JSON list of the tags that children were resolved
	// from.
	annotationRefs = "io.github.archmage-build.refs"
)

// Draft is an index on disk that was not pushed yet, or a single image that shall
// be published without one.
type Draft struct {
	// Target is the target it is the index of.
	Target string
	// Descriptor names the index, or the manifest of an image without one. The
	// annotations of an index are those of the level index-descriptor.
	Descriptor ocispecs.Descriptor
	// Raw is the exact bytes of what Descriptor names.
	Raw []byte
	// Index lists the images and attestations: Raw, decoded, or of an image
	// without an index the one that would hold it.
	Index ocispecs.Index

	base       digest.Digest
	sources    map[digest.Digest]string
	repaired   []Repaired
	refs       []string
	mayBePlain bool
	store      store
}

// Plain reports whether the draft is a single image, without an index.
func (d *Draft) Plain() bool { return oci.IsManifest(d.Descriptor.MediaType) }

// Open reads the draft of a target from a layout directory. Its manifests are
// verified against their digests.
func Open(dir, target string) (*Draft, error) {
	s := store{dir: dir}
	top, err := s.load()
	if err != nil {
		return nil, err
	}
	for _, desc := range top.Manifests {
		if desc.Annotations[ocispecs.AnnotationRefName] == target {
			return s.open(target, desc)
		}
	}
	return nil, fmt.Errorf("opening the draft of target %q in %q: %w; run assemble first", target, dir, ErrNoDraft)
}

// ErrNoDraft says that a layout holds no index of a target.
var ErrNoDraft = errors.New("there is none")

// Targets lists the targets that have a draft in a layout directory, in the
// order they were first assembled in. A directory that does not exist has
// none.
func Targets(dir string) ([]string, error) {
	top, err := store{dir: dir}.load()
	if err != nil {
		return nil, err
	}
	var targets []string
	for _, desc := range top.Manifests {
		if name := desc.Annotations[ocispecs.AnnotationRefName]; name != "" {
			targets = append(targets, name)
		}
	}
	return targets, nil
}

// Children are the descriptors of the images, in order, without attestations.
func (d *Draft) Children() []ocispecs.Descriptor {
	var children []ocispecs.Descriptor
	for _, desc := range d.Index.Manifests {
		if !isAttestation(desc) {
			children = append(children, desc)
		}
	}
	return children
}

// Source is the repository that a child or attestation was assembled from.
func (d *Draft) Source(child digest.Digest) string { return d.sources[child] }

// Blob returns a manifest or config of the draft, verified. Layers are not in
// it: they stay in the repository that Source names; Fill brings them for other
// tools.
func (d *Draft) Blob(desc ocispecs.Descriptor) ([]byte, error) { return d.store.blob(desc.Digest) }

func (s store) open(target string, desc ocispecs.Descriptor) (*Draft, error) {
	raw, err := s.blob(desc.Digest)
	if err != nil {
		return nil, err
	}
	d := &Draft{Target: target, Raw: raw, store: s, mayBePlain: desc.Annotations[annotationPlain] != ""}
	if oci.IsManifest(desc.MediaType) {
		only := desc
		only.Annotations = nil
		d.Index = newIndex(ocispecs.MediaTypeImageIndex)
		if desc.MediaType == oci.MediaTypeDockerManifest {
			d.Index = newIndex(oci.MediaTypeDockerManifestList)
		}
		d.Index.Manifests = append(d.Index.Manifests, only)
	} else if err := json.Unmarshal(raw, &d.Index); err != nil {
		return nil, s.damaged(fmt.Sprintf("the index of %q", target), err)
	}
	d.base = digest.Digest(desc.Annotations[annotationBase])
	if err := json.Unmarshal([]byte(desc.Annotations[annotationSources]), &d.sources); err != nil {
		return nil, s.damaged("the sources of "+target, err)
	}
	if text, ok := desc.Annotations[annotationRepaired]; ok {
		if err := json.Unmarshal([]byte(text), &d.repaired); err != nil {
			return nil, s.damaged("the repaired children of "+target, err)
		}
	}
	if text, ok := desc.Annotations[annotationRefs]; ok {
		if err := json.Unmarshal([]byte(text), &d.refs); err != nil {
			return nil, s.damaged("the sources' tags of "+target, err)
		}
	}
	d.Descriptor = desc
	d.Descriptor.Annotations = nil
	for key, value := range desc.Annotations {
		switch key {
		case ocispecs.AnnotationRefName, annotationBase, annotationSources, annotationRepaired, annotationRefs, annotationPlain:
		default:
			if d.Descriptor.Annotations == nil {
				d.Descriptor.Annotations = map[string]string{}
			}
			d.Descriptor.Annotations[key] = value
		}
	}
	return d, nil
}

// save writes the draft's index, and the blobs it names that are new, and
// makes it the target's.
func (d *Draft) save(blobs ...[]byte) error {
	raw, err := json.Marshal(d.Index)
	if err != nil {
		return fmt.Errorf("encoding the index of %q: %w", d.Target, err)
	}
	d.Raw = raw
	d.Descriptor = ocispecs.Descriptor{
		MediaType: d.Index.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), Annotations: d.Descriptor.Annotations,
	}
	if d.base == "" {
		d.base = d.Descriptor.Digest
	}
	if manifest, ok := d.single(blobs); ok {
		d.Descriptor, d.Raw = d.Index.Manifests[0], manifest
	}
	sources, err := json.Marshal(d.sources)
	if err != nil {
		return fmt.Errorf("encoding the sources of %q: %w", d.Target, err)
	}
	desc := d.Descriptor
	desc.Annotations = map[string]string{
		ocispecs.AnnotationRefName: d.Target,
		annotationBase:             d.base.String(),
		annotationSources:          string(sources),
	}
	if len(d.repaired) > 0 {
		repaired, err := json.Marshal(d.repaired)
		if err != nil {
			return fmt.Errorf("encoding the repaired children of %q: %w", d.Target, err)
		}
		desc.Annotations[annotationRepaired] = string(repaired)
	}
	if d.mayBePlain {
		desc.Annotations[annotationPlain] = "true"
	}
	if len(d.refs) > 0 {
		refs, err := json.Marshal(d.refs)
		if err != nil {
			return fmt.Errorf("encoding the sources' tags of %q: %w", d.Target, err)
		}
		desc.Annotations[annotationRefs] = string(refs)
	}
	for key, value := range d.Descriptor.Annotations {
		desc.Annotations[key] = value
	}
	return d.store.commit(desc, append(blobs, raw))
}

// single gives the manifest of the draft's only image where nothing is lost
// without an index: no attestation, no annotation, no platform that the image's
// config does not state. Blobs are those that are not in the layout yet.
func (d *Draft) single(blobs [][]byte) (manifest []byte, ok bool) {
	if !d.mayBePlain || len(d.Index.Manifests) != 1 || len(d.Index.Annotations) > 0 || len(d.Descriptor.Annotations) > 0 {
		return nil, false
	}
	only := d.Index.Manifests[0]
	if len(only.Annotations) > 0 || isAttestation(only) || only.Platform == nil {
		return nil, false
	}
	get := func(want digest.Digest) []byte {
		for _, b := range blobs {
			if digest.FromBytes(b) == want {
				return b
			}
		}
		b, _ := d.store.blob(want) // without it, there is an index
		return b
	}
	manifest = get(only.Digest)
	var m ocispecs.Manifest
	if json.Unmarshal(manifest, &m) != nil {
		return nil, false
	}
	config, err := configPlatform(get(m.Config.Digest))
	if err != nil || oci.PlatformConflict(config, *only.Platform) != "" ||
		config.OSVersion != only.Platform.OSVersion || !slices.Equal(config.OSFeatures, only.Platform.OSFeatures) {
		return nil, false
	}
	return manifest, true
}

func newIndex(mediaType string) ocispecs.Index {
	return ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Manifests: []ocispecs.Descriptor{}}
}

// isAttestation is for entries of an index whose content was judged when it was
// assembled, or is only shown.
func isAttestation(desc ocispecs.Descriptor) bool {
	ok, err := oci.AttestationEntry(desc)
	return ok && err == nil
}
