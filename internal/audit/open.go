package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/registry"
)

// LayerSource is a Source that has layers too.
type LayerSource interface {
	Source
	// OpenLayer streams a layer, or another blob, that the manifest owner in
	// ref's repository names. The last Read fails if the bytes do not fit the
	// digest. The caller closes it.
	OpenLayer(ctx context.Context, ref string, owner digest.Digest, layer ocispecs.Descriptor) (io.ReadCloser, error)
	// LayerSize returns the size of a layer in bytes, without reading it.
	LayerSize(ctx context.Context, ref string, owner digest.Digest, layer ocispecs.Descriptor) (int64, error)
}

// ErrNotFound says that a source is well but has no such manifest or blob. A
// registry says so with an Error of its own: see registry.IsNotFound.
var ErrNotFound = errors.New("it is not there")

func isNotFound(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, os.ErrNotExist) || registry.IsNotFound(err)
}

func (s remoteSource) OpenLayer(ctx context.Context, ref string, _ digest.Digest, layer ocispecs.Descriptor) (io.ReadCloser, error) {
	return s.client.OpenBlob(ctx, ref, layer.Digest)
}

func (s remoteSource) LayerSize(ctx context.Context, ref string, _ digest.Digest, layer ocispecs.Descriptor) (int64, error) {
	// Whether it is there may just have been asked, to reuse what was built.
	if repository, err := registry.Repository(ref); err == nil {
		if ok, err := s.client.HasBlob(ctx, repository, layer); ok && err == nil {
			return layer.Size, nil
		}
	}
	return s.client.BlobSize(ctx, ref, layer.Digest)
}

// Digest returns what a reference names now, without its bytes.
func (s remoteSource) Digest(ctx context.Context, ref string) (digest.Digest, error) {
	desc, err := s.client.Head(ctx, ref)
	return desc.Digest, err
}

func (s layoutSource) OpenLayer(_ context.Context, _ string, _ digest.Digest, layer ocispecs.Descriptor) (io.ReadCloser, error) {
	path, err := s.blobPath(layer.Digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, notThere(layer.Digest, err)
	}
	return verify(f, layer.Digest), nil
}

func (s layoutSource) LayerSize(_ context.Context, _ string, _ digest.Digest, layer ocispecs.Descriptor) (int64, error) {
	path, err := s.blobPath(layer.Digest)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, notThere(layer.Digest, err)
	}
	return info.Size(), nil
}

func (s layoutSource) blobPath(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("reading digest %q: %w", d, err)
	}
	return filepath.Join(s.dir, ocispecs.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), nil
}

func notThere(d digest.Digest, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading blob %s: %w", d, ErrNotFound)
	}
	return err
}

// Draft reads a draft: manifests and configs from the layout, layers from the
// repository that sourceOf names for the manifest they belong to, which is
// index.Draft.Source. Layers that the layout has been filled with are read
// there.
func Draft(dir string, client *registry.Client, sourceOf func(manifest digest.Digest) string) LayerSource {
	return draftSource{layoutSource{dir}, remoteSource{client}, sourceOf}
}

type draftSource struct {
	layoutSource
	remote   remoteSource
	sourceOf func(digest.Digest) string
}

func (s draftSource) OpenLayer(ctx context.Context, ref string, owner digest.Digest, layer ocispecs.Descriptor) (io.ReadCloser, error) {
	body, err := s.layoutSource.OpenLayer(ctx, ref, owner, layer)
	if from := s.sourceOf(owner); isNotFound(err) && from != "" {
		return s.remote.OpenLayer(ctx, from, owner, layer)
	}
	return body, err
}

func (s draftSource) LayerSize(ctx context.Context, ref string, owner digest.Digest, layer ocispecs.Descriptor) (int64, error) {
	size, err := s.layoutSource.LayerSize(ctx, ref, owner, layer)
	if from := s.sourceOf(owner); isNotFound(err) && from != "" {
		return s.remote.LayerSize(ctx, from, owner, layer)
	}
	return size, err
}

// verifying is a body whose end fails if its bytes do not fit their digest.
type verifying struct {
	io.ReadCloser
	verifier digest.Verifier
}

func verify(body io.ReadCloser, d digest.Digest) io.ReadCloser {
	return &verifying{body, d.Verifier()}
}

func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	_, _ = v.verifier.Write(p[:n])
	if errors.Is(err, io.EOF) && !v.verifier.Verified() {
		return n, errors.New("the bytes do not fit the digest")
	}
	return n, err
}

// Open chooses the source that a `-ref` of the command line means, and the ref
// to ask it for:
//
//	oci:DIR[:NAME]            an OCI image layout directory
//	oci-archive:FILE[:NAME]   a tar file of one
//	docker-archive:FILE       what `docker save` writes
//	FILE.tar, ./FILE, DIR     whatever of these it is
//	docker://REF, REF         an image in a registry
//
// The function returned gives back what is held; it is never nil.
func Open(client *registry.Client, ref string) (LayerSource, string, func(), error) {
	nothing := func() {}
	scheme, rest, _ := strings.Cut(ref, ":")
	switch scheme {
	case "docker":
		return Registry(client), strings.TrimPrefix(rest, "//"), nothing, nil
	case "oci":
		return openLayout(splitName(rest))
	case "oci-archive", "docker-archive":
		file, name := splitName(rest)
		return openArchive(file, name)
	}
	if info, err := os.Stat(ref); err == nil {
		if info.IsDir() {
			return openLayout(ref, "")
		}
		return openArchive(ref, "")
	}
	if strings.HasSuffix(ref, ".tar") || strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, "/") {
		return nil, "", nothing, fmt.Errorf("opening %q: there is no such file; name an archive, a layout directory (oci:DIR) or a reference", ref)
	}
	return Registry(client), ref, nothing, nil
}

// splitName divides "path:name" where a path that exists ends.
func splitName(s string) (path, name string) {
	for i := range len(s) {
		if s[i] == ':' && i > 0 {
			if _, err := os.Stat(s[:i]); err == nil {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

func openLayout(dir, name string) (LayerSource, string, func(), error) {
	if _, err := os.Stat(filepath.Join(dir, ocispecs.ImageIndexFile)); err != nil {
		return nil, "", func() {}, fmt.Errorf("%q is a directory without index.json, so it is no OCI image layout (%w)", dir, err)
	}
	return layoutSource{dir}, name, func() {}, nil
}

func openArchive(file, name string) (LayerSource, string, func(), error) {
	a, err := newArchive(file)
	if err != nil {
		return nil, "", func() {}, fmt.Errorf("opening archive %q: %w", file, err)
	}
	return a, name, a.close, nil
}
