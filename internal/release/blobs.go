package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobs is a directory that images are written to in a registry's stead, by
// digest alone.
type blobs struct{ dir string }

func (s *blobs) path(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("reading the digest %q: %w", d, err)
	}
	return filepath.Join(s.dir, d.Algorithm().String()+"-"+d.Encoded()), nil
}

// digestOf is the digest in a reference.
func digestOf(ref string) digest.Digest {
	_, d, _ := strings.Cut(ref, "@")
	return digest.Digest(d)
}

// Head implements build.Registry.
func (s *blobs) Head(ctx context.Context, ref string) (ocispecs.Descriptor, error) {
	desc, _, err := s.Manifest(ctx, ref)
	return desc, err
}

// Manifest implements build.Registry.
func (s *blobs) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	desc := ocispecs.Descriptor{Digest: digestOf(ref)}
	body, err := s.OpenBlob(ctx, ref, desc.Digest)
	if err != nil {
		return desc, nil, err
	}
	defer func() { _ = body.Close() }() // only read
	raw, err := io.ReadAll(body)
	if err != nil {
		return desc, nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	var m struct{ MediaType string }
	if err := json.Unmarshal(raw, &m); err != nil {
		return desc, nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	desc.MediaType, desc.Size = m.MediaType, int64(len(raw))
	return desc, raw, nil
}

// OpenBlob implements build.Registry.
func (s *blobs) OpenBlob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, error) {
	path, err := s.path(d)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// PutBlob implements build.Registry.
func (s *blobs) PutBlob(_ context.Context, _ string, desc ocispecs.Descriptor, open func() (io.ReadCloser, error)) error {
	path, err := s.path(desc.Digest)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	body, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // only read
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, ".tmp-")
	if err != nil {
		return err
	}
	sum := desc.Digest.Verifier()
	_, err = io.Copy(io.MultiWriter(f, sum), body)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if !sum.Verified() {
		return fmt.Errorf("writing %s: the bytes do not fit the digest", desc.Digest)
	}
	return os.Rename(f.Name(), path)
}

// CheckPush implements build.Registry.
func (s *blobs) CheckPush(context.Context, string) error { return nil }

// PutManifest implements build.Registry.
func (s *blobs) PutManifest(ctx context.Context, ref, _ string, raw []byte) error {
	return s.PutBlob(ctx, ref, ocispecs.Descriptor{Digest: digestOf(ref)}, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	})
}
