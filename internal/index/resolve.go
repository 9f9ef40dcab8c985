package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
)

// SourceError says that a reference is nothing an index can be made of.
type SourceError struct {
	// Ref is the reference as it was given.
	Ref string
	// Reason says what is wrong, and what to do next.
	Reason string
}

// Error implements error.
func (e *SourceError) Error() string { return fmt.Sprintf("source %q: %s", e.Ref, e.Reason) }

// otherKinds names what users take for images by mistake.
var otherKinds = map[string]string{
	"application/vnd.cncf.helm.config.v1+json":                  "a Helm chart",
	"application/vnd.wasm.config.v1+json":                       "a WebAssembly module",
	"application/vnd.docker.plugin.v1+json":                     "a Docker plugin",
	"application/vnd.docker.distribution.manifest.v1+json":      "an image of Docker's schema 1",
	"application/vnd.docker.distribution.manifest.v1+prettyjws": "an image of Docker's schema 1",
	"application/vnd.oci.artifact.manifest.v1+json":             "an artifact",
	"application/vnd.oci.empty.v1+json":                         "an artifact",
	"application/vnd.dev.cosign.simplesigning.v1+json":          "a signature",
}

func kindOf(mediaType string) string {
	if kind, ok := otherKinds[mediaType]; ok {
		return fmt.Sprintf("%s (%s)", kind, mediaType)
	}
	return fmt.Sprintf("of the media type %q", mediaType)
}

// indexDepth is how deep indexes may lie within each other: a person's index
// of BuildKit's indexes of one platform.
const indexDepth = 3

// Resolve reads what a reference names now and returns its images, those of an
// index one by one with their attestations. It never uses what it read before.
// A SourceError says that the reference is no image; what a registry has
// against it is a *registry.Error.
func Resolve(ctx context.Context, client *registry.Client, ref string) ([]Child, error) {
	r := resolver{client: client, ref: ref}
	var err error
	if r.repo, err = registry.Repository(ref); err != nil {
		return nil, err
	}
	if err := r.walk(ctx, ref, nil, indexDepth); err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for i := range r.found {
		g.Go(func() error { return r.image(gctx, &r.found[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return r.found, nil
}

// ResolveAll resolves references side by side and returns all their images in
// the order of the references. The error tells of each reference that failed.
func ResolveAll(ctx context.Context, client *registry.Client, refs []string) ([]Child, error) {
	found := make([][]Child, len(refs))
	errs := make([]error, len(refs))
	var g errgroup.Group
	g.SetLimit(client.Jobs())
	for i, ref := range refs {
		g.Go(func() error {
			found[i], errs[i] = Resolve(ctx, client, ref)
			return nil
		})
	}
	_ = g.Wait()
	return slices.Concat(found...), errors.Join(errs...)
}

type resolver struct {
	client    *registry.Client
	ref, repo string
	top       digest.Digest // of what the reference points to
	found     []Child
}

func (r *resolver) bad(format string, args ...any) error {
	return &SourceError{Ref: r.ref, Reason: fmt.Sprintf(format, args...)}
}

// walk finds the images at a reference, through indexes. stated is how an
// index names it, nil for the reference itself.
func (r *resolver) walk(ctx context.Context, at string, stated *ocispecs.Descriptor, depth int) error {
	get := r.client.Manifest
	if stated != nil {
		get = r.client.Listed
	}
	desc, raw, err := get(ctx, at)
	if registry.IsNotFound(err) && stated != nil {
		return r.missing(ctx, *stated)
	}
	if err == nil && stated == nil {
		r.top = desc.Digest
	}
	if err != nil {
		return fmt.Errorf("resolving source %q: %w", r.ref, err)
	}
	if stated != nil {
		if err := sameBytes(*stated, desc); err != nil {
			return r.bad("%s: %v; push it again", stated.Digest, err)
		}
	}
	switch {
	case oci.IsManifest(desc.MediaType):
		child := Child{Ref: r.ref, Repository: r.repo, Digest: desc.Digest, read: &part{desc: desc, manifest: raw}}
		if stated != nil {
			child.read.desc.Annotations = stated.Annotations
			child.read.stated = stated.Platform
		}
		r.found = append(r.found, child)
		return nil
	case oci.IsIndex(desc.MediaType):
		if depth == 0 {
			return r.bad("it is an index of indexes more than %d deep; name its images by their digests", indexDepth)
		}
		return r.entries(ctx, raw, depth)
	}
	return r.bad("it is %s, and an index is made of images; name an image or an OCI index", kindOf(desc.MediaType))
}

// missing reports an image that an index names and the registry does not have.
func (r *resolver) missing(ctx context.Context, stated ocispecs.Descriptor) error {
	what := stated.Digest.String()
	if p := stated.Platform; p != nil && p.Architecture != "" {
		what = fmt.Sprintf("%s (%s)", format(*p), what)
	}
	if now, err := r.client.Head(ctx, r.ref); err == nil && now.Digest != r.top {
		return r.bad("its index named %s, which the registry does not have, and it points to another index by now (%s); run the same command again", what, now.Digest)
	}
	return r.bad("its index names %s, which the registry does not have; push it again, or if this is a mirror or a cache, name the registry that it is a copy of", what)
}

// entries walks an index and gives its attestations to the images that they
// are about.
func (r *resolver) entries(ctx context.Context, raw []byte, depth int) error {
	var idx ocispecs.Index
	if err := json.Unmarshal(raw, &idx); err != nil {
		return r.bad("its index is not readable: %v; push it again", err)
	}
	first := len(r.found)
	var attestations []ocispecs.Descriptor
	for _, desc := range idx.Manifests {
		attestation, err := oci.AttestationEntry(desc)
		if err != nil {
			return r.bad("in its index, %v; name the images in it that you mean by their digests", err)
		}
		if attestation {
			attestations = append(attestations, desc)
			continue
		}
		if !oci.IsManifest(desc.MediaType) && !oci.IsIndex(desc.MediaType) {
			return r.bad("its index holds %s, which is %s; name the images in it by their digests", desc.Digest, kindOf(desc.MediaType))
		}
		at, err := registry.At(r.repo, desc.Digest)
		if err != nil {
			return r.bad("its index names %q: %v; push it again", desc.Digest, err)
		}
		if err := r.walk(ctx, at, &desc, depth-1); err != nil {
			return err
		}
	}
	if len(r.found) == first {
		return r.bad("its index holds no image; name one that does")
	}
next:
	for _, desc := range attestations {
		subject := desc.Annotations[oci.AnnotationReferenceDigest]
		for i := first; i < len(r.found); i++ {
			if r.found[i].Digest.String() == subject {
				r.found[i].Attestations = append(r.found[i].Attestations, desc)
				continue next
			}
		}
		return r.bad("its index holds the attestation %s about %q, which is not in it; push it again, or name its images by their digests", desc.Digest, subject)
	}
	return nil
}

// image reads the config of an image and what platform it is for.
func (r *resolver) image(ctx context.Context, child *Child) error {
	var m ocispecs.Manifest
	if err := json.Unmarshal(child.read.manifest, &m); err != nil {
		return r.bad("the manifest %s is not readable: %v; push it again", child.Digest, err)
	}
	if kind := m.ArtifactType; kind != "" || !oci.IsImageConfig(m.Config.MediaType) {
		if kind == "" {
			kind = m.Config.MediaType
		}
		return r.bad("%s is no image but %s; name an image", child.Digest, kindOf(kind))
	}
	raw, err := r.client.Blob(ctx, r.repo, m.Config, configLimit)
	if err != nil {
		return fmt.Errorf("resolving source %q, image %s: %w", r.ref, child.Digest, err)
	}
	child.read.config = raw
	p, err := configPlatform(raw)
	if err == nil && p.OS == "unknown" {
		err = errors.New("its config is for no platform (unknown)")
	}
	if err != nil {
		return r.bad("%s: %v; build it for a platform", child.Digest, err)
	}
	child.Platform = p
	if s := child.read.stated; s != nil && s.OS != "" && s.Architecture != "" {
		child.Platform = normalized(*s)
	}
	return nil
}
