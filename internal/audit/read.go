package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
)

// Bounds of what is read of a foreign graph.
const (
	maxDepth    = 4        // indexes within indexes
	maxNodes    = 10_000   // manifests and indexes together
	maxBytes    = 64 << 20 // all that is read
	configLimit = 8 << 20  // one config
	parallel    = 8
)

// Read reads what ref names in a source, at any depth, without its layers. A
// child that is gone or damaged is in the tree with its Problem; an error
// means that there is no tree. All bytes are verified against their digests,
// and their number is bounded whatever the source gives.
func Read(ctx context.Context, source Source, ref string) (*Tree, error) {
	tree, err := readTree(ctx, source, ref)
	if err == nil && tree.Problem != "" {
		return nil, fmt.Errorf("inspecting %q: %s", ref, tree.Problem)
	}
	return tree, err
}

// readTree is Read where even what ref itself names may have a Problem.
func readTree(ctx context.Context, source Source, ref string) (*Tree, error) {
	r := &reader{source: source, ref: ref}
	desc, raw, err := source.Manifest(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("inspecting: %w", err) // which names ref
	}
	if err := verified(raw, desc); err != nil {
		return nil, fmt.Errorf("inspecting %q: %w", ref, err)
	}
	r.bytes.Add(int64(len(raw)))
	r.nodes.Add(1)
	top := ocispecs.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: int64(len(raw)), Annotations: withoutOwn(desc.Annotations)}
	node, err := r.manifest(ctx, top, raw, 0)
	if err != nil {
		return nil, fmt.Errorf("inspecting %q: %w", ref, err)
	}
	nameAttestations(&node)
	return &Tree{Reference: ref, Node: node}, nil
}

type reader struct {
	source Source
	ref    string
	nodes  atomic.Int64
	bytes  atomic.Int64
}

// errTooMuch stops the whole reading: what is left would be too much as well.
var errTooMuch = errors.New("the image graph is larger than an honest one")

// document is whatever a manifest or index may hold.
type document struct {
	MediaType    string                `json:"mediaType"`
	ArtifactType string                `json:"artifactType"`
	Manifests    []ocispecs.Descriptor `json:"manifests"`
	Config       *ocispecs.Descriptor  `json:"config"`
	Layers       []ocispecs.Descriptor `json:"layers"`
	Subject      *ocispecs.Descriptor  `json:"subject"`
	Annotations  map[string]string     `json:"annotations"`
}

// manifest makes the node of a manifest or index from its bytes. What is wrong
// with the bytes is the node's Problem; an error is of the reading itself.
func (r *reader) manifest(ctx context.Context, desc ocispecs.Descriptor, raw []byte, depth int) (Node, error) {
	attestation, claim := oci.Attestation(desc, raw)
	if !oci.ClaimsAttestation(desc) && (desc.Platform == nil || desc.Platform.OS == "unknown") {
		// Asked for by its own digest, nothing but its content tells.
		attestation = oci.HoldsStatements(raw)
	}
	n := describe(desc, attestation)
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		n.fault("corrupt", fmt.Sprintf("it is no manifest: %v", err))
		return n, nil
	}
	var none *oci.AttestationError
	if errors.As(claim, &none) {
		n.FalseClaim = none.Reason
	}
	if n.MediaType == "" {
		n.MediaType = doc.MediaType
	}
	n.Annotations = doc.Annotations
	n.ArtifactType = doc.ArtifactType
	if doc.Subject != nil {
		n.Subject = doc.Subject.Digest
	}
	switch n.MediaType {
	case ocispecs.MediaTypeImageIndex, mediaTypeDockerList:
		return n, r.index(ctx, &n, doc, depth)
	case ocispecs.MediaTypeImageManifest, mediaTypeDockerManifest:
		return n, r.image(ctx, &n, doc)
	case mediaTypeSchema1, mediaTypeSchema1Signed:
		n.Name = "Docker image of the retired schema 1"
	default:
		n.Name = artifactName(n.MediaType)
	}
	n.Kind = KindArtifact
	return n, nil
}

// describe makes a node of what a descriptor alone says, and of whether it is
// an attestation.
func describe(desc ocispecs.Descriptor, attestation bool) Node {
	n := Node{
		Kind:                  KindArtifact,
		MediaType:             desc.MediaType,
		Digest:                desc.Digest,
		Size:                  desc.Size,
		ArtifactType:          desc.ArtifactType,
		DescriptorAnnotations: desc.Annotations,
	}
	if attestation {
		n.Kind = KindAttestation
		n.Subject = digest.Digest(desc.Annotations[oci.AnnotationReferenceDigest])
		return n
	}
	n.Stated = desc.Platform
	if p := desc.Platform; p != nil && p.OS != "" && p.OS != "unknown" {
		n.Platform = platforms.Format(platforms.Normalize(*p))
		n.OSVersion, n.OSFeatures = p.OSVersion, p.OSFeatures
		n.Name = n.Platform
	}
	switch desc.MediaType {
	case ocispecs.MediaTypeImageIndex, mediaTypeDockerList:
		n.Kind = KindIndex
	case ocispecs.MediaTypeImageManifest, mediaTypeDockerManifest:
		n.Kind = KindImage
	}
	if n.Name == "" {
		n.Name = string(n.Kind)
	}
	return n
}

func (r *reader) index(ctx context.Context, n *Node, doc document, depth int) error {
	n.Kind = KindIndex
	if n.Name == "" || n.Name == string(KindArtifact) {
		n.Name = string(KindIndex)
	}
	if depth >= maxDepth {
		n.fault("graph-depth", fmt.Sprintf("indexes are nested more than %d deep", maxDepth))
		return nil
	}
	if r.nodes.Add(int64(len(doc.Manifests))) > maxNodes {
		return fmt.Errorf("%w: more than %d manifests", errTooMuch, maxNodes)
	}
	n.Children = make([]Node, len(doc.Manifests))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, desc := range doc.Manifests {
		g.Go(func() error {
			var err error
			n.Children[i], err = r.child(gctx, desc, depth+1)
			return err
		})
	}
	return g.Wait()
}

func (r *reader) child(ctx context.Context, desc ocispecs.Descriptor, depth int) (Node, error) {
	if err := ctx.Err(); err != nil { // a sibling met what stops it all
		return Node{}, err
	}
	raw, err := r.fetch(ctx, desc, true, registry.ManifestLimit)
	if problem, stop := problemOf(ctx, err); stop != nil || problem != "" {
		attestation, _ := oci.AttestationEntry(desc) // its content is not known
		n := describe(desc, attestation)
		n.fault(missingOr(err, "missing-manifest"), problem)
		return n, stop
	}
	n, err := r.manifest(ctx, desc, raw, depth)
	if stated := statedType(raw); err == nil && n.Problem == "" && desc.MediaType != "" && stated != "" && stated != desc.MediaType {
		n.fault("type-mismatch", fmt.Sprintf("the index states the media type %s, it says %s itself", desc.MediaType, stated))
	}
	if err == nil && n.Problem == "" && desc.Size != int64(len(raw)) {
		n.fault("size-mismatch", fmt.Sprintf("the index states %d bytes, it has %d", desc.Size, len(raw)))
	}
	return n, err
}

// statedType is the media type that a manifest has in itself.
func statedType(raw []byte) string {
	var doc struct {
		MediaType string `json:"mediaType"`
	}
	_ = json.Unmarshal(raw, &doc) // what is no manifest has been said
	return doc.MediaType
}

func (r *reader) image(ctx context.Context, n *Node, doc document) error {
	if doc.Config == nil {
		n.fault("corrupt", "it is a manifest without a config")
		return nil
	}
	for _, layer := range doc.Layers {
		n.Layers = append(n.Layers, Layer{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, Annotations: layer.Annotations, URLs: layer.URLs})
		n.TotalSize += layer.Size
		if predicate := layer.Annotations[annotationPredicate]; predicate != "" {
			n.Predicates = append(n.Predicates, predicate)
		}
	}
	n.TotalSize += n.Size + doc.Config.Size
	if n.Kind == KindAttestation {
		n.Name = predicateNames(n.Predicates)
		return nil
	}
	if n.ArtifactType != "" || !oci.IsImageConfig(doc.Config.MediaType) {
		if n.ArtifactType == "" {
			n.ArtifactType = doc.Config.MediaType
		}
		n.Kind = KindArtifact
		n.Name = artifactName(n.ArtifactType, layerTypes(doc.Layers)...)
		return nil
	}
	n.Kind = KindImage
	raw, err := r.fetch(ctx, *doc.Config, false, configLimit)
	if problem, stop := problemOf(ctx, err); stop != nil || problem != "" {
		if problem != "" {
			n.fault(missingOr(err, "missing-config"), "its config cannot be read: "+problem)
		}
		return stop
	}
	n.Config, err = readConfig(raw, *doc.Config)
	if err != nil {
		n.fault("corrupt", err.Error())
		return nil
	}
	if n.Platform == "" && n.Config.OS != "" {
		n.Platform = platforms.Format(platforms.Normalize(ocispecs.Platform{OS: n.Config.OS, Architecture: n.Config.Architecture, Variant: n.Config.Variant}))
		n.Name = n.Platform
	}
	return nil
}

// fetch reads what a descriptor names, within the bounds, and verifies it.
func (r *reader) fetch(ctx context.Context, desc ocispecs.Descriptor, manifest bool, limit int64) ([]byte, error) {
	if desc.Size < 0 || desc.Size > limit {
		return nil, fmt.Errorf("it states %d bytes, more than the %d that are read", desc.Size, limit)
	}
	if r.bytes.Load()+desc.Size > maxBytes {
		return nil, fmt.Errorf("%w: more than %d bytes of manifests and configs", errTooMuch, int64(maxBytes))
	}
	raw, err := r.source.Child(ctx, r.ref, desc, manifest, limit)
	if err != nil {
		return nil, err
	}
	if r.bytes.Add(int64(len(raw))) > maxBytes {
		return nil, fmt.Errorf("%w: more than %d bytes of manifests and configs", errTooMuch, int64(maxBytes))
	}
	return raw, verified(raw, desc)
}

// fault says what is wrong with a node, and which check that belongs to.
func (n *Node) fault(check, problem string) { n.Check, n.Problem = check, problem }

// missingOr is the check that says something is missing, if that is what the
// error says.
func missingOr(err error, missing string) string {
	if isNotFound(err) {
		return missing
	}
	return "corrupt"
}

// problemOf tells what is wrong with one node from what stops the reading: a
// cancelled context, a graph too large, or a registry that cannot be used.
func problemOf(ctx context.Context, err error) (problem string, stop error) {
	if err == nil {
		return "", nil
	}
	var e *registry.Error
	switch {
	case ctx.Err() != nil, errors.Is(err, errTooMuch):
		return "", err
	case errors.As(err, &e) && e.Kind != registry.NotFound && e.Kind != registry.Corrupt && e.Kind != registry.Failed:
		return "", err
	}
	return err.Error(), nil
}
