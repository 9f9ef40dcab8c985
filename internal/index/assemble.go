package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
)

// Child is one platform of a target, as it was pushed.
type Child struct {
	// Ref is the reference that Resolve found it by; "" for one that was built.
	Ref string
	// Repository holds it, "localhost:5000/hello".
	Repository string
	// Digest names a manifest, or an index of one platform with its
	// attestations, as BuildKit pushes it.
	Digest digest.Digest
	// Platform is the platform it was asked for, or is said to be for.
	Platform ocispecs.Platform
	// Attestations are the descriptors of the attestation manifests that an
	// index held beside it. Those within an index that Digest names are found.
	Attestations []ocispecs.Descriptor

	// read is what Resolve read already.
	read *part
	// repair allows to correct the config.
	repair bool
}

// Assembly says what an index is made of.
type Assembly struct {
	// Target names the draft.
	Target string
	// Platforms is what the index shall have, in this order; nil means those
	// of the children, in theirs.
	Platforms []ocispecs.Platform
	// Partial leaves children of other platforms out instead of refusing them.
	Partial bool
	// Children are the images, one a platform, in any order.
	Children []Child
	// Overrides say which source is for which platform, what may be repaired
	// and what may be missing. Their fields are for Annotate.
	Overrides []Override
	// Docker makes a manifest list of Docker's media types instead of an OCI
	// index.
	Docker bool
	// StripAttestations leaves SBOMs and provenance out. They are kept
	// otherwise, each right after its image.
	StripAttestations bool
	// Index makes an index of a single image too. Otherwise one that was built,
	// and has no attestations, is published as it is, as bake does: some services
	// take no index.
	Index bool
}

// Assemble makes the draft index of a target from children that are in a
// registry. It replaces the target's draft in dir, an OCI image layout, and
// writes nothing if a child is not what it was asked for, if two are for one
// platform, or if one is missing or too many.
func Assemble(ctx context.Context, client *registry.Client, dir string, a Assembly) (*Draft, error) {
	ordered, err := arrange(a)
	if err != nil {
		return nil, err
	}
	s := store{dir: dir}
	parts := make([]part, len(ordered))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for i, child := range ordered {
		g.Go(func() error {
			var err error
			parts[i], err = s.read(gctx, client, a, child)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}

	built := !slices.ContainsFunc(ordered, func(c Child) bool { return c.Ref != "" })
	d := &Draft{mayBePlain: built && !a.Index, Target: a.Target, sources: map[digest.Digest]string{}, store: s}
	d.Index = newIndex(ocispecs.MediaTypeImageIndex)
	if a.Docker {
		d.Index = newIndex(oci.MediaTypeDockerManifestList)
	}
	seen := map[digest.Digest]string{}
	var blobs [][]byte
	for i, p := range parts {
		name := format(ordered[i].Platform)
		if ref := ordered[i].Ref; ref != "" {
			if tag, err := registry.Tag(ref); err == nil { // else it names a digest
				d.refs = append(d.refs, ordered[i].Repository+":"+tag)
			}
		}
		if p.repaired != nil {
			d.repaired = append(d.repaired, *p.repaired)
		}
		if other, twice := seen[p.desc.Digest]; twice {
			return nil, &PlatformError{a.Target, name, fmt.Sprintf("it is the same image as %s (%s)", other, p.desc.Digest)}
		}
		seen[p.desc.Digest] = name
		d.Index.Manifests = append(d.Index.Manifests, p.desc)
		d.sources[p.desc.Digest] = ordered[i].Repository
		for _, att := range p.attestations {
			d.Index.Manifests = append(d.Index.Manifests, att.desc)
			d.sources[att.desc.Digest] = ordered[i].Repository
		}
		blobs = append(blobs, p.blobs()...)
	}
	if err := d.save(blobs...); err != nil {
		return nil, err
	}
	return Open(dir, a.Target)
}

// arrange puts the children into the order of the platforms and refuses what
// does not fit one to one.
func arrange(a Assembly) ([]Child, error) {
	children, err := claim(a)
	if err != nil {
		return nil, err
	}
	if len(a.Platforms) == 0 && len(children) == 0 {
		return nil, fmt.Errorf("assembling target %q: it has no platforms; list them in its platforms attribute", a.Target)
	}
	byPlatform := map[string]Child{}
	for _, child := range children {
		key := format(child.Platform)
		if other, twice := byPlatform[key]; twice {
			return nil, &PlatformError{a.Target, key, fmt.Sprintf("two images were given (%s and %s); a client would take the first and never see the other%s", other, child, claimHint(child))}
		}
		byPlatform[key] = child
	}
	if a.Platforms == nil {
		return children, nil
	}
	ordered := make([]Child, 0, len(a.Platforms))
	asked := map[string]bool{}
	for _, p := range a.Platforms {
		key := format(p)
		if asked[key] {
			return nil, &PlatformError{a.Target, key, "it is listed twice in platforms; remove one"}
		}
		asked[key] = true
		child, ok := byPlatform[key]
		if !ok && a.mayMiss(p) {
			continue
		}
		if !ok {
			return nil, &PlatformError{a.Target, key, missing(children)}
		}
		delete(byPlatform, key)
		ordered = append(ordered, child)
	}
	if len(ordered) == 0 {
		return nil, fmt.Errorf("assembling target %q: none of its platforms has an image; build them, or name other sources", a.Target)
	}
	if len(byPlatform) > 0 && !a.Partial {
		surplus := slices.Sorted(maps.Keys(byPlatform))
		if from := byPlatform[surplus[0]]; from.Ref != "" {
			return nil, &PlatformError{a.Target, surplus[0], fmt.Sprintf("source %q has it but platforms does not (not asked for: %s); add it there, or leave platforms out to take all", from.Ref, strings.Join(surplus, ", "))}
		}
		return nil, &PlatformError{a.Target, surplus[0], fmt.Sprintf("it was built but is not in platforms (not asked for: %s)", strings.Join(surplus, ", "))}
	}
	return ordered, nil
}

// part is what a child brings into an index.
type part struct {
	desc         ocispecs.Descriptor
	stated       *ocispecs.Platform // by the index it was found in
	repaired     *Repaired
	manifest     []byte
	config       []byte
	attestations []part
}

// blobs are what the layout keeps of it, what is named before what names it.
func (p part) blobs() [][]byte {
	blobs := [][]byte{p.config, p.manifest}
	for _, att := range p.attestations {
		blobs = append(blobs, att.config, att.manifest)
	}
	return blobs
}

// configLimit bounds a config, in bytes. Configs of images with thousands of
// labels stay far below.
const configLimit = 8 << 20

// read fetches a child and its attestations and checks that they are what was
// asked for.
func (s store) read(ctx context.Context, client *registry.Client, a Assembly, child Child) (part, error) {
	bad := func(format_ string, args ...any) error {
		return &PlatformError{a.Target, format(child.Platform), fmt.Sprintf(format_, args...)}
	}
	wrap := func(err error) error {
		return fmt.Errorf("assembling target %q, platform %q: %w", a.Target, format(child.Platform), err)
	}
	ref, err := registry.At(child.Repository, child.Digest)
	if err != nil {
		return part{}, wrap(err)
	}
	var desc ocispecs.Descriptor
	var raw []byte
	if child.read != nil {
		desc, raw = child.read.desc, child.read.manifest
	} else if desc, raw, err = client.Manifest(ctx, ref); err != nil {
		return part{}, wrap(err)
	}
	attestations := slices.Clone(child.Attestations)
	if oci.IsIndex(desc.MediaType) {
		var inner ocispecs.Index
		if err := json.Unmarshal(raw, &inner); err != nil {
			return part{}, wrap(fmt.Errorf("reading index %q: %w", ref, err))
		}
		image, atts, err := flatten(inner)
		if err != nil {
			return part{}, bad("%s is %v", ref, err)
		}
		attestations = atts
		outer := ref
		if ref, err = registry.At(child.Repository, image.Digest); err != nil {
			return part{}, wrap(err)
		}
		stated := image
		if desc, raw, err = client.Listed(ctx, ref); err != nil {
			return part{}, wrap(err)
		}
		if err := sameBytes(stated, desc); err != nil {
			return part{}, bad("%s in %s: %v", ref, outer, err)
		}
		desc.Annotations = stated.Annotations
	}
	if !oci.IsManifest(desc.MediaType) {
		return part{}, bad("%s is no image but %q", ref, desc.MediaType)
	}
	p := part{desc: desc, manifest: raw}
	if child.read != nil {
		p.config = child.read.config
	} else if p.config, err = s.readConfig(ctx, client, ref, raw); err != nil {
		return part{}, wrap(err)
	}
	config, err := configPlatform(p.config)
	if err != nil {
		return part{}, bad("%s: %v; is it an image?", ref, err)
	}
	entry := openFields(child.Platform, config)
	difference := oci.PlatformConflict(config, entry)
	if difference != "" && !child.repair {
		if child.Ref != "" {
			claim := fmt.Sprintf("source = %q, ", child.Ref)
			if child.read != nil && child.read.stated != nil {
				claim = "" // the index it is in says what it is for
			}
			return part{}, bad("%s (%s); if its config is what is wrong, let it be corrected: platform %q { %srepair = true }", difference, ref, format(child.Platform), claim)
		}
		return part{}, bad("%s (%s); check FROM --platform and what the Dockerfile copies in", difference, ref)
	}
	held, err := s.readAttestations(ctx, client, child, attestations)
	var notOne *oci.AttestationError
	if errors.As(err, &notOne) {
		return part{}, bad("%v; take it out of the index that holds it, and find out how it came there", notOne)
	}
	if err != nil {
		return part{}, wrap(fmt.Errorf("reading its attestations: %w", err))
	}
	p.desc.Platform = &entry
	if difference != "" {
		was := p.desc.Digest
		if p, err = p.correct(entry); err != nil {
			return part{}, wrap(fmt.Errorf("repairing %q: %w", ref, err))
		}
		p.repaired = &Repaired{Platform: format(entry), From: was, To: p.desc.Digest}
		if !a.StripAttestations {
			p.repaired.Attestations = len(held)
		}
		held = nil // they are about what it was
	}
	if a.Docker && p.desc.MediaType != oci.MediaTypeDockerManifest {
		return part{}, bad("%s is of the OCI media type %q and media_types is \"docker\"; build it anew, or set media_types = \"oci\"", ref, p.desc.MediaType)
	}
	if a.StripAttestations {
		return p, nil
	}
	if a.Docker && len(held) > 0 {
		return part{}, bad("a Docker manifest list holds no attestations; set attestations = \"strip\", or media_types = \"oci\"")
	}
	p.attestations = held
	return p, nil
}

// openFields is the platform that an entry gets: the one asked for, and of the
// operating system's version and features what the config says, where that was
// left open.
func openFields(asked, config ocispecs.Platform) ocispecs.Platform {
	if asked.OSVersion == "" {
		asked.OSVersion = config.OSVersion
	}
	if len(asked.OSFeatures) == 0 {
		asked.OSFeatures = config.OSFeatures
	}
	return asked
}

// readAttestations reads the attestations of a child, also those that will be
// left out: an entry that only calls itself one is an *oci.AttestationError.
func (s store) readAttestations(ctx context.Context, client *registry.Client, child Child, stated []ocispecs.Descriptor) ([]part, error) {
	parts := make([]part, 0, len(stated))
	for _, desc := range stated {
		ref, err := registry.At(child.Repository, desc.Digest)
		if err != nil {
			return nil, err
		}
		got, raw, err := client.Listed(ctx, ref)
		if err != nil {
			return nil, err
		}
		if err := sameBytes(desc, got); err != nil {
			return nil, &oci.AttestationError{Digest: desc.Digest, Reason: err.Error()}
		}
		ok, err := oci.Attestation(desc, raw)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, &oci.AttestationError{Digest: desc.Digest, Reason: "its index enters it as an image"}
		}
		att := part{desc: desc, manifest: raw}
		if att.config, err = s.readConfig(ctx, client, ref, raw); err != nil {
			return nil, err
		}
		parts = append(parts, att)
	}
	return parts, nil
}

// flatten takes the one image and its attestations out of an index.
func flatten(inner ocispecs.Index) (image ocispecs.Descriptor, attestations []ocispecs.Descriptor, err error) {
	var images []ocispecs.Descriptor
	for _, desc := range inner.Manifests {
		attestation, err := oci.AttestationEntry(desc)
		switch {
		case err != nil:
			return image, nil, fmt.Errorf("an index that is not as BuildKit makes it: %w", err)
		case attestation:
			attestations = append(attestations, desc)
		default:
			images = append(images, desc)
		}
	}
	if len(images) != 1 {
		return image, nil, fmt.Errorf("an index of %d images where one was expected; name the one manifest by its digest", len(images))
	}
	for _, att := range attestations {
		if subject := att.Annotations[oci.AnnotationReferenceDigest]; subject != images[0].Digest.String() {
			return image, nil, fmt.Errorf("an index whose attestation %s is about %q, which is not in it", att.Digest, subject)
		}
	}
	return images[0], attestations, nil
}

// sameBytes compares what an index states of a manifest with what it is.
func sameBytes(stated, got ocispecs.Descriptor) error {
	if stated.Size != got.Size {
		return fmt.Errorf("the index states %d bytes, it has %d", stated.Size, got.Size)
	}
	if stated.MediaType != got.MediaType {
		return fmt.Errorf("the index states the media type %q, the registry %q", stated.MediaType, got.MediaType)
	}
	return nil
}

// readConfig returns a manifest's config, from the layout if an earlier draft
// left it there: the digest says that it is the same.
func (s store) readConfig(ctx context.Context, client *registry.Client, ref string, manifest []byte) ([]byte, error) {
	var m ocispecs.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("reading manifest %q: %w", ref, err)
	}
	if raw, err := s.blob(m.Config.Digest); err == nil && int64(len(raw)) == m.Config.Size {
		return raw, nil
	}
	return client.Blob(ctx, ref, m.Config, configLimit)
}
