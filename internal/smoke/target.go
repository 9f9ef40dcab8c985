package smoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
)

// Target is an image to be proven.
type Target struct {
	// Name tells it apart in reports.
	Name string
	// Repository with its registry host; images are pulled from there.
	Repository string
	// Tag is what users pull; "" where no tag moved yet.
	Tag string
	// Index is the digest of the image's index; "" for an image without one.
	Index digest.Digest
	// Children are the images for single platforms, without attestations.
	Children []Child
	// Cases are run in order on each device that fits.
	Cases []*config.Smoke
	// Insecure is that of the registry block.
	Insecure bool
}

// Child is the image for one platform.
type Child struct {
	Platform ocispecs.Platform
	// Digest is that of its manifest, Config that of its config.
	Digest digest.Digest
	Config digest.Digest
}

// Name is the platform as os/arch/variant.
func (c Child) Name() string { return config.FormatPlatform(c.Platform) }

// ref names the child by digest.
func (t *Target) ref(d digest.Digest) string { return t.Repository + "@" + d.String() }

// Read reads a target from a registry: what ref, a tag or a digest, names now.
// Cases and names are the caller's to add.
func Read(ctx context.Context, client *registry.Client, ref string) (*Target, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, fmt.Errorf("parsing %q: %w", ref, err)
	}
	t := &Target{Name: ref, Repository: named.Name()}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		if _, digested := named.(reference.Digested); !digested {
			t.Tag = tagged.Tag()
		}
	}
	desc, raw, err := client.Manifest(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err) // which names ref
	}
	var doc struct {
		Manifests []ocispecs.Descriptor
		Config    *ocispecs.Descriptor
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("reading %q: it is no manifest: %w", ref, err)
	}
	if doc.Config != nil {
		child, err := single(ctx, client, t.ref(desc.Digest), desc.Digest, *doc.Config)
		if err != nil {
			return nil, err
		}
		t.Children = []Child{child}
		return t, nil
	}
	t.Index = desc.Digest
	children := make([]*Child, len(doc.Manifests))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for i, entry := range doc.Manifests {
		g.Go(func() error {
			var err error
			children[i], err = childOf(gctx, client, t.ref(entry.Digest), entry)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("reading %q: %w", ref, err)
	}
	for _, c := range children {
		if c != nil {
			t.Children = append(t.Children, *c)
		}
	}
	if len(t.Children) == 0 {
		return nil, fmt.Errorf("reading %q: its index holds no image that a device could run", ref)
	}
	return t, nil
}

// childOf reads an entry of an index; nil is one that no device could run: an
// attestation, or another artifact.
func childOf(ctx context.Context, client *registry.Client, ref string, entry ocispecs.Descriptor) (*Child, error) {
	_, raw, err := client.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	attestation, err := oci.Attestation(entry, raw)
	if err != nil || attestation || entry.Platform != nil && entry.Platform.OS == "unknown" {
		return nil, err
	}
	var doc struct{ Config *ocispecs.Descriptor }
	if err := json.Unmarshal(raw, &doc); err != nil || doc.Config == nil {
		return nil, fmt.Errorf("%s: %w", entry.Digest, errors.Join(errors.New("it is no image manifest"), err))
	}
	if entry.Platform != nil {
		return &Child{Platform: platforms.Normalize(*entry.Platform), Digest: entry.Digest, Config: doc.Config.Digest}, nil
	}
	if !oci.IsImageConfig(doc.Config.MediaType) {
		return nil, nil
	}
	child, err := single(ctx, client, ref, entry.Digest, *doc.Config)
	return &child, err
}

// configLimit bounds a config, in bytes.
const configLimit = 8 << 20

// single makes the only child of an image that has no index.
func single(ctx context.Context, client *registry.Client, ref string, manifest digest.Digest, cfg ocispecs.Descriptor) (Child, error) {
	raw, err := client.Blob(ctx, ref, cfg, configLimit)
	if err != nil {
		return Child{}, fmt.Errorf("reading the config of %q: %w", ref, err)
	}
	var image ocispecs.Image
	if err := json.Unmarshal(raw, &image); err != nil || image.OS == "" || image.Architecture == "" {
		return Child{}, fmt.Errorf("reading %q: its config states no platform; it is no image that a device could run", ref)
	}
	return Child{Platform: platforms.Normalize(image.Platform), Digest: manifest, Config: cfg.Digest}, nil
}

// pick gives the one child for the first of the platforms that has any.
func (t *Target) pick(wanted []string) (*Child, error) {
	for _, want := range wanted {
		var found []*Child
		for i := range t.Children {
			if t.Children[i].Name() == want {
				found = append(found, &t.Children[i])
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			var digests []string
			for _, c := range found {
				digests = append(digests, c.Digest.String())
			}
			return nil, &ambiguousError{platform: want, digests: digests}
		}
	}
	return nil, nil
}

type ambiguousError struct {
	platform string
	digests  []string
}

func (e *ambiguousError) Error() string {
	return fmt.Sprintf("the index holds %d images for %s: %s; which one a device takes is chance", len(e.digests), e.platform, strings.Join(e.digests, ", "))
}

func (t *Target) platformNames() string {
	var names []string
	for _, c := range t.Children {
		names = append(names, c.Name())
	}
	return strings.Join(names, ", ")
}
