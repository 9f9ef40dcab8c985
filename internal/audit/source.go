package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/registry"
)

// Source is a place images are read from.
type Source interface {
	// Manifest returns the manifest or index that ref names, with its digest,
	// media type and size; at most registry.ManifestLimit bytes.
	Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error)
	// Child returns a manifest (manifest is true) or blob that is named by
	// something in ref's repository, verified, at most limit bytes.
	Child(ctx context.Context, ref string, desc ocispecs.Descriptor, manifest bool, limit int64) ([]byte, error)
}

// Registry reads published images. The ref is a reference.
func Registry(client *registry.Client) LayerSource { return remoteSource{client} }

type remoteSource struct{ client *registry.Client }

func (s remoteSource) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	return s.client.Manifest(ctx, ref)
}

func (s remoteSource) Child(ctx context.Context, ref string, desc ocispecs.Descriptor, manifest bool, limit int64) ([]byte, error) {
	if !manifest {
		return s.client.Blob(ctx, ref, desc, limit)
	}
	at, err := registry.At(ref, desc.Digest)
	if err != nil {
		return nil, err
	}
	_, raw, err := s.client.Listed(ctx, at)
	return raw, err
}

// Layout reads an OCI image layout directory, such as that of the drafts. The
// ref is the org.opencontainers.image.ref.name of an entry: a draft's target.
func Layout(dir string) LayerSource { return layoutSource{dir} }

type layoutSource struct{ dir string }

func (s layoutSource) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	path := filepath.Join(s.dir, ocispecs.ImageIndexFile)
	raw, err := readLimited(path, registry.ManifestLimit)
	if err != nil {
		return ocispecs.Descriptor{}, nil, fmt.Errorf("reading layout %q: %w; is it an OCI image layout? Run assemble to make a draft", s.dir, err)
	}
	var top ocispecs.Index
	if err := json.Unmarshal(raw, &top); err != nil {
		return ocispecs.Descriptor{}, nil, fmt.Errorf("reading %q: %w", path, err)
	}
	if ref == "" {
		return choose(ctx, s, s.dir, top, raw, ref)
	}
	var names []string
	for _, desc := range top.Manifests {
		name := desc.Annotations[ocispecs.AnnotationRefName]
		if name != ref {
			names = append(names, name)
			continue
		}
		raw, err := s.Child(ctx, ref, desc, true, registry.ManifestLimit)
		return desc, raw, err
	}
	return ocispecs.Descriptor{}, nil, fmt.Errorf("reading layout %q: it holds no %q, only %q; run assemble to make a draft", s.dir, ref, names)
}

func (s layoutSource) Child(_ context.Context, _ string, desc ocispecs.Descriptor, _ bool, limit int64) ([]byte, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("reading digest %q: %w", desc.Digest, err)
	}
	path := filepath.Join(s.dir, ocispecs.ImageBlobsDir, desc.Digest.Algorithm().String(), desc.Digest.Encoded())
	raw, err := readLimited(path, limit)
	if err != nil {
		return nil, err
	}
	if desc.Digest.Algorithm().FromBytes(raw) != desc.Digest {
		return nil, fmt.Errorf("reading %q: its bytes do not fit its digest", path)
	}
	return raw, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("reading %q: it is larger than %d bytes", path, limit)
	}
	return raw, nil
}

// verified tells whether bytes are what a descriptor names.
func verified(raw []byte, desc ocispecs.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return err
	}
	if desc.Digest.Algorithm().FromBytes(raw) != desc.Digest {
		return fmt.Errorf("the bytes do not fit the digest: they are %s", digest.FromBytes(raw))
	}
	return nil
}
