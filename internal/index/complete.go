package index

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
)

// maxManifests bounds what Complete reads of one image.
const maxManifests = 1000

// Complete reports whether a repository has all of an image or index: its
// manifest, and for each manifest below it the config and every layer, of the
// sizes that are stated. Layers that are only fetched from elsewhere are not
// asked for. An error means that the registry could not be asked.
//
// Manifests are read, blobs asked for by HEAD, side by side; what was found is
// not asked for again by the same client for a while.
func Complete(ctx context.Context, client *registry.Client, repository string, desc ocispecs.Descriptor) (bool, error) {
	c := &completeness{client: client, repository: repository, seen: map[digest.Digest]bool{}}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	level := []ocispecs.Descriptor{desc}
	for depth := 0; len(level) > 0; depth++ {
		if depth > indexDepth {
			return false, nil
		}
		for _, d := range level {
			g.Go(func() error { return c.manifest(gctx, d) })
		}
		if err := g.Wait(); err != nil {
			return c.answer(err)
		}
		g, gctx = errgroup.WithContext(ctx)
		g.SetLimit(client.Jobs())
		level, c.manifests = c.manifests, nil
		if len(c.seen) > maxManifests {
			return false, nil
		}
	}
	for _, d := range c.blobs {
		g.Go(func() error {
			ok, err := client.HasBlob(gctx, repository, d)
			if err == nil && !ok {
				err = errIncomplete
			}
			return err
		})
	}
	return c.answer(g.Wait())
}

var errIncomplete = errors.New("a part is missing")

type completeness struct {
	client     *registry.Client
	repository string

	mu sync.Mutex
	// manifests and blobs are what the manifests read so far name.
	manifests, blobs []ocispecs.Descriptor
	seen             map[digest.Digest]bool
}

func (c *completeness) answer(err error) (bool, error) {
	if errors.Is(err, errIncomplete) {
		return false, nil
	}
	return err == nil, err
}

// manifest reads one manifest and notes what it names; errIncomplete says that
// it is not there, or is not what was stated.
func (c *completeness) manifest(ctx context.Context, desc ocispecs.Descriptor) error {
	ref, err := registry.At(c.repository, desc.Digest)
	if err != nil {
		return errIncomplete
	}
	got, raw, err := c.client.Manifest(ctx, ref)
	var e *registry.Error
	if errors.As(err, &e) && (e.Kind == registry.NotFound || e.Kind == registry.Corrupt) {
		return errIncomplete
	}
	if err != nil {
		return err
	}
	var m struct {
		Config    *ocispecs.Descriptor  `json:"config"`
		Layers    []ocispecs.Descriptor `json:"layers"`
		Manifests []ocispecs.Descriptor `json:"manifests"`
	}
	if desc.Size > 0 && desc.Size != got.Size || json.Unmarshal(raw, &m) != nil {
		return errIncomplete
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[desc.Digest] = true
	if oci.IsIndex(got.MediaType) {
		c.note(&c.manifests, m.Manifests...)
		return nil
	}
	if m.Config == nil {
		return errIncomplete
	}
	c.note(&c.blobs, *m.Config)
	c.note(&c.blobs, slices.DeleteFunc(m.Layers, isForeign)...)
	return nil
}

// note adds what was not met before.
func (c *completeness) note(list *[]ocispecs.Descriptor, descs ...ocispecs.Descriptor) {
	for _, d := range descs {
		if !c.seen[d.Digest] {
			c.seen[d.Digest] = true
			*list = append(*list, d)
		}
	}
}

// isForeign reports whether a layer is fetched from its URLs, not from the
// registry that has the manifest.
func isForeign(desc ocispecs.Descriptor) bool {
	switch desc.MediaType {
	case ocispecs.MediaTypeImageLayerNonDistributable, ocispecs.MediaTypeImageLayerNonDistributableGzip, ocispecs.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // published images have them
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar":
		return true
	}
	return false
}
