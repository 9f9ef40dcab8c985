package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/plan"
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
}

// carried says whether the image of b comes back over the session: the worker
// is declared so, or the registry is on this machine's loopback and could not
// be brought to the worker.
func carried(w *worker.Worker, b *plan.Build) bool {
	return w.Push == "client" || (w.Unforwarded != nil && oci.Loopback(plan.Host(b.Repository)))
}

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
	raw, err := content.ReadBlob(ctx, p.store, desc)
	if err != nil {
		return fmt.Errorf("reading %s as it came from the worker: %w", desc.Digest, err)
	}
	below, err := named(desc, raw)
	if err != nil {
		return err
	}
	for _, d := range below {
		if isManifest(d.MediaType) {
			if err := p.push(ctx, reg, repository, d); err != nil {
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
func (p *parcel) fetchAll(ctx context.Context, reg Registry, bases map[string]Base) (map[string]Base, error) {
	out := map[string]Base{}
	for name, b := range bases {
		if err := p.fetch(ctx, reg, b.Repository, b.Descriptor.Digest); err != nil {
			return nil, err
		}
		b.parcel = p
		out[name] = b
	}
	return out, nil
}

// fetch brings an image of a registry here.
func (p *parcel) fetch(ctx context.Context, reg Registry, repository string, dgst digest.Digest) error {
	ref := repository + "@" + dgst.String()
	desc, raw, err := reg.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	below, err := named(desc, raw)
	if err != nil {
		return err
	}
	for _, d := range below {
		if isManifest(d.MediaType) {
			if err := p.fetch(ctx, reg, repository, d.Digest); err != nil {
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
	err = content.WriteBlob(ctx, p.store, desc.Digest.String(), r, ocispecs.Descriptor{Digest: desc.Digest, Size: desc.Size})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("fetching %s: %w", desc.Digest, err)
	}
	return nil
}

// offer gives a base to the daemon over the session, and the reference to it.
func (p *parcel) offer(so *client.SolveOpt, dgst digest.Digest) string {
	id := identity.NewID()
	if so.OCIStores == nil {
		so.OCIStores = map[string]content.Store{}
	}
	so.OCIStores[id] = p.store
	return "oci-layout://" + id + "@" + dgst.String()
}

// named are the descriptors in a manifest or index.
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
	return append(out, m.Layers...), nil
}

func isManifest(mediaType string) bool {
	switch mediaType {
	case ocispecs.MediaTypeImageManifest, ocispecs.MediaTypeImageIndex,
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json":
		return true
	}
	return false
}
