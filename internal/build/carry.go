package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/worker"
)

// Registry is what the workstation asks for digests, and carries images to and
// from for workers that reach no registry.
type Registry interface {
	Head(ctx context.Context, ref string) (ocispecs.Descriptor, error)
	Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error)
	OpenBlob(ctx context.Context, ref string, digest digest.Digest) (io.ReadCloser, error)
	PutBlob(ctx context.Context, to string, desc ocispecs.Descriptor, open func() (io.ReadCloser, error)) error
	PutManifest(ctx context.Context, ref, mediaType string, raw []byte) error
	CheckPush(ctx context.Context, repository string) error
}

// carried says whether images of a repository pass through the workstation: the
// worker is declared so, or the registry is on this machine's loopback and could
// not be brought to the worker.
func carried(w *worker.Worker, repository string) bool {
	return repository != "" && (w.Push == "client" || (w.Unforwarded != nil && oci.Loopback(plan.Host(repository))))
}

// fetched reports whether a base has to be brought here for a worker.
func fetched(w *worker.Worker, b Base) bool { return b.parcel == nil && carried(w, b.Repository) }

// parcel is a directory that an image passes through on its way. What is in it
// lies on disk, not in memory.
type parcel struct {
	dir   string
	store content.Store
}

func newParcel(scratch string) (*parcel, error) {
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, fmt.Errorf("making room for an image: %w", err)
	}
	dir, err := os.MkdirTemp(scratch, "image-")
	if err != nil {
		return nil, fmt.Errorf("making room for an image: %w", err)
	}
	store, err := local.NewStore(dir)
	if err != nil {
		return nil, fmt.Errorf("making room for an image in %s: %w", filepath.Base(dir), err)
	}
	return &parcel{dir: dir, store: store}, nil
}

func (p *parcel) remove() { _ = os.RemoveAll(p.dir) } // the scratch directory goes as a whole later

// export turns the entry that has the worker push into one that sends the
// image here.
func (p *parcel) export(e client.ExportEntry) client.ExportEntry {
	for _, k := range []string{"push", "push-by-digest", "name-canonical", "name", "registry.insecure", "unpack", "store"} {
		delete(e.Attrs, k)
	}
	e.Attrs["tar"] = "false"
	e.Type, e.OutputStore = client.ExporterOCI, p.store
	return e
}

// push uploads the image by digest, what is named before what names it.
func (p *parcel) push(ctx context.Context, reg Registry, repository string, desc ocispecs.Descriptor) error {
	return p.pushAll(ctx, reg, repository, desc, &graph{}, 0)
}

func (p *parcel) pushAll(ctx context.Context, reg Registry, repository string, desc ocispecs.Descriptor, g *graph, depth int) error {
	if again, err := g.enter(desc, depth); again || err != nil {
		return err
	}
	raw, err := p.manifest(ctx, desc)
	if err != nil {
		return fmt.Errorf("reading %s as it came from the worker: %w", desc.Digest, err)
	}
	below, err := named(desc, raw)
	if err != nil {
		return err
	}
	for _, d := range below {
		if holds(d.MediaType) {
			if err := p.pushAll(ctx, reg, repository, d, g, depth+1); err != nil {
				return err
			}
			continue
		}
		err := reg.PutBlob(ctx, repository+"@"+d.Digest.String(), d, func() (io.ReadCloser, error) {
			r, err := p.store.ReaderAt(ctx, d)
			if err != nil {
				return nil, fmt.Errorf("reading %s as it came from the worker: %w", d.Digest, err)
			}
			return struct {
				io.Reader
				io.Closer
			}{content.NewReader(r), r}, nil
		})
		if err != nil {
			return err
		}
	}
	return reg.PutManifest(ctx, repository+"@"+desc.Digest.String(), desc.MediaType, raw)
}

// fetchAll brings the bases here, for a worker that cannot pull them.
func (p *parcel) fetchAll(ctx context.Context, reg Registry, w *worker.Worker, bases map[string]Base) (map[string]Base, error) {
	out := map[string]Base{}
	for name, b := range bases {
		if out[name] = b; !fetched(w, b) {
			continue
		}
		if err := p.fetch(ctx, reg, b.Repository, b.Descriptor, &graph{}, 0); err != nil {
			return nil, err
		}
		b.parcel = p
		out[name] = b
	}
	return out, nil
}

// fetch brings an image of a registry here.
func (p *parcel) fetch(ctx context.Context, reg Registry, repository string, want ocispecs.Descriptor, g *graph, depth int) error {
	if again, err := g.enter(want, depth); again || err != nil {
		return err
	}
	ref := repository + "@" + want.Digest.String()
	desc, raw, err := reg.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	below, err := named(desc, raw)
	if err != nil {
		return err
	}
	for _, d := range below {
		if holds(d.MediaType) {
			if err := p.fetch(ctx, reg, repository, d, g, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := p.take(ctx, d, func() (io.ReadCloser, error) { return reg.OpenBlob(ctx, ref, d.Digest) }); err != nil {
			return err
		}
	}
	return p.take(ctx, desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
}

func (p *parcel) take(ctx context.Context, desc ocispecs.Descriptor, open func() (io.ReadCloser, error)) error {
	if _, err := p.store.Info(ctx, desc.Digest); err == nil {
		return nil
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // verified by digest
	// A source that sends more than it stated does not fill the disk.
	err = content.WriteBlob(ctx, p.store, desc.Digest.String(), io.LimitReader(r, desc.Size+1), ocispecs.Descriptor{Digest: desc.Digest, Size: desc.Size})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("fetching %s: %w", desc.Digest, err)
	}
	return nil
}

// offer gives a base to the daemon over the session, and the reference to it.
func (p *parcel) offer(so *client.SolveOpt, dgst digest.Digest) string {
	id := "base-" + dgst.Encoded()[:16]
	if so.OCIStores == nil {
		so.OCIStores = map[string]content.Store{}
	}
	so.OCIStores[id] = p.store
	return "oci-layout://" + id + "@" + dgst.String()
}

// named are the descriptors in a manifest or index, each once.
func named(desc ocispecs.Descriptor, raw []byte) ([]ocispecs.Descriptor, error) {
	var m struct {
		Config    *ocispecs.Descriptor  `json:"config"`
		Layers    []ocispecs.Descriptor `json:"layers"`
		Manifests []ocispecs.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", desc.Digest, err)
	}
	out := m.Manifests
	if m.Config != nil {
		out = append(out, *m.Config)
	}
	out = append(out, m.Layers...)
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(out, func(d ocispecs.Descriptor) bool {
		again := seen[d.Digest]
		seen[d.Digest] = true
		return again
	}), nil
}

// holds reports whether a media type is of something that names other parts.
func holds(mediaType string) bool { return oci.IsManifest(mediaType) || oci.IsIndex(mediaType) }

// Bounds of an image that passes through here: the worker or registry it comes
// from may be anybody's.
const (
	graphDepth = 4    // indexes within indexes
	graphNodes = 1000 // manifests and indexes together
)

// graph is what of an image was met already.
type graph struct{ seen map[digest.Digest]bool }

// enter notes a manifest or index, and reports whether it was met before. More
// of them, or deeper ones, than an image has are an error.
func (g *graph) enter(desc ocispecs.Descriptor, depth int) (again bool, err error) {
	switch {
	case g.seen[desc.Digest]:
		return true, nil
	case depth > graphDepth:
		return false, fmt.Errorf("the image holds indexes more than %d deep, at %s", graphDepth, desc.Digest)
	case len(g.seen) >= graphNodes:
		return false, fmt.Errorf("the image holds more than %d manifests", graphNodes)
	case desc.Size > registry.ManifestLimit:
		return false, fmt.Errorf("the manifest %s has %d bytes, more than the %d that are read", desc.Digest, desc.Size, int64(registry.ManifestLimit))
	}
	if g.seen == nil {
		g.seen = map[digest.Digest]bool{}
	}
	g.seen[desc.Digest] = true
	return false, nil
}

// manifest reads a manifest of the parcel, whose size in the store may be
// another than its descriptor states.
func (p *parcel) manifest(ctx context.Context, desc ocispecs.Descriptor) ([]byte, error) {
	info, err := p.store.Info(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	if info.Size > registry.ManifestLimit {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are read of a manifest", info.Size, int64(registry.ManifestLimit))
	}
	return content.ReadBlob(ctx, p.store, desc)
}
