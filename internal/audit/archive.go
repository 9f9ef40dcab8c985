package audit

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/rootfs"
)

// archive reads images from a tar file: an OCI layout, or what `docker save`
// wrote. Its parts are found once and read where they lie.
type archive struct {
	file *os.File
	at   map[string]span
	// made are manifests of images that have none in the archive; own are
	// digests of blobs that lie under other names.
	made map[digest.Digest][]byte
	own  map[digest.Digest]string
	top  ocispecs.Index
}

// maxArchiveEntries bounds the files of one archive.
const maxArchiveEntries = 500_000

type span struct{ off, size int64 }

func newArchive(name string) (*archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a := &archive{file: f, at: map[string]span{}, made: map[digest.Digest][]byte{}, own: map[digest.Digest]string{}}
	if err := a.open(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *archive) close() { _ = a.file.Close() }

func (a *archive) open() error {
	if err := a.survey(); err != nil {
		return err
	}
	if raw, err := a.read(ocispecs.ImageIndexFile, registry.ManifestLimit); err == nil {
		if err := json.Unmarshal(raw, &a.top); err != nil {
			return fmt.Errorf("reading its index.json: %w", err)
		}
		return nil
	}
	raw, err := a.read("manifest.json", registry.ManifestLimit)
	if err != nil {
		return errors.New("it holds neither index.json nor manifest.json, so it is no image; make one with `docker save` or `skopeo copy`")
	}
	return a.docker(raw)
}

// survey finds where in the file each part lies.
func (a *archive) survey() error {
	magic := make([]byte, 4)
	if _, err := io.ReadFull(a.file, magic); err != nil {
		return errors.New("it is empty or truncated")
	}
	if bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) || rootfs.IsZstd(magic) {
		return errors.New("it is compressed; unpack it first (gunzip, zstd -d)")
	}
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	for r := tar.NewReader(a.file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return a.ended(info.Size())
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it is no tar archive, or a truncated one; write it again")
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fmt.Errorf("it is no tar archive, so no image that was saved (%w)", err)
		}
		if len(a.at) >= maxArchiveEntries {
			return fmt.Errorf("it has more than %d entries", maxArchiveEntries)
		}
		off, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			if off+h.Size > info.Size() {
				return fmt.Errorf("it is truncated in %q; write it again", h.Name)
			}
			a.at[name] = span{off, h.Size}
		case tar.TypeSymlink, tar.TypeLink: // docker save links layers that are alike
			target := path.Clean(h.Linkname)
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), h.Linkname) //nolint:gosec // a key of the map, nothing is unpacked
			}
			if at, ok := a.at[target]; ok {
				a.at[name] = at
			}
		}
	}
}

// ended tells whether the archive has its end, which is of zeros. One that was
// cut off between two files reads as well without.
func (a *archive) ended(size int64) error {
	last := make([]byte, 512)
	if _, err := a.file.ReadAt(last, size-int64(len(last))); err != nil || !bytes.Equal(last, make([]byte, len(last))) {
		return errors.New("it is no tar archive, or a truncated one; write it again")
	}
	return nil
}

// docker makes manifests of what manifest.json lists.
// https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
func (a *archive) docker(raw []byte) error {
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &images); err != nil {
		return fmt.Errorf("reading its manifest.json: %w", err)
	}
	a.top.MediaType = ocispecs.MediaTypeImageIndex
	for _, image := range images {
		m := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaTypeDockerManifest, Layers: []ocispecs.Descriptor{}}
		config, err := a.read(path.Clean(image.Config), configLimit)
		if err != nil {
			return fmt.Errorf("reading the config %q: %w", image.Config, err)
		}
		m.Config = ocispecs.Descriptor{MediaType: oci.MediaTypeDockerConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
		a.own[m.Config.Digest] = path.Clean(image.Config)
		for _, layer := range image.Layers {
			name := path.Clean(layer)
			at, ok := a.at[name]
			if !ok {
				return fmt.Errorf("it names the layer %q and does not hold it; write it again", layer)
			}
			sum, err := digest.FromReader(io.NewSectionReader(a.file, at.off, at.size))
			if err != nil {
				return err
			}
			a.own[sum] = name
			m.Layers = append(m.Layers, ocispecs.Descriptor{MediaType: "application/vnd.docker.image.rootfs.diff.tar", Digest: sum, Size: at.size})
		}
		manifest, err := json.Marshal(m)
		if err != nil {
			return err
		}
		desc := ocispecs.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
		a.made[desc.Digest] = manifest
		if len(image.RepoTags) > 0 {
			desc.Annotations = map[string]string{ocispecs.AnnotationRefName: image.RepoTags[0]}
		}
		a.top.Manifests = append(a.top.Manifests, desc)
	}
	return nil
}

func (a *archive) read(name string, limit int64) ([]byte, error) {
	at, ok := a.at[name]
	if !ok {
		return nil, fmt.Errorf("reading %q: %w", name, ErrNotFound)
	}
	if at.size > limit {
		return nil, fmt.Errorf("reading %q: it is larger than %d bytes", name, limit)
	}
	raw := make([]byte, at.size)
	_, err := io.ReadFull(io.NewSectionReader(a.file, at.off, at.size), raw)
	return raw, err
}

func (a *archive) name(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("reading digest %q: %w", d, err)
	}
	if name, ok := a.own[d]; ok {
		return name, nil
	}
	return path.Join(ocispecs.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), nil
}

// Manifest implements Source.
func (a *archive) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	raw, err := a.read(ocispecs.ImageIndexFile, registry.ManifestLimit)
	if err != nil {
		if raw, err = json.Marshal(a.top); err != nil {
			return ocispecs.Descriptor{}, nil, err
		}
	}
	return choose(ctx, a, a.file.Name(), a.top, raw, ref)
}

// Child implements Source.
func (a *archive) Child(_ context.Context, _ string, desc ocispecs.Descriptor, _ bool, limit int64) ([]byte, error) {
	if raw, ok := a.made[desc.Digest]; ok {
		return raw, nil
	}
	name, err := a.name(desc.Digest)
	if err != nil {
		return nil, err
	}
	return a.read(name, limit)
}

// OpenLayer implements LayerSource.
func (a *archive) OpenLayer(_ context.Context, _ string, _ digest.Digest, layer ocispecs.Descriptor) (io.ReadCloser, error) {
	name, err := a.name(layer.Digest)
	if err != nil {
		return nil, err
	}
	at, ok := a.at[name]
	if !ok {
		return nil, fmt.Errorf("reading %q: %w", name, ErrNotFound)
	}
	return verify(io.NopCloser(io.NewSectionReader(a.file, at.off, at.size)), layer.Digest), nil
}

// LayerSize implements LayerSource.
func (a *archive) LayerSize(_ context.Context, _ string, _ digest.Digest, layer ocispecs.Descriptor) (int64, error) {
	name, err := a.name(layer.Digest)
	if err != nil {
		return 0, err
	}
	at, ok := a.at[name]
	if !ok {
		return 0, fmt.Errorf("reading %q: %w", name, ErrNotFound)
	}
	return at.size, nil
}

// choose picks an entry of a layout's index by name. Without a name the only
// entry is meant, or the index itself where it has several.
func choose(ctx context.Context, s Source, where string, top ocispecs.Index, raw []byte, ref string) (ocispecs.Descriptor, []byte, error) {
	var names []string
	for _, desc := range top.Manifests {
		name := desc.Annotations[ocispecs.AnnotationRefName]
		full := desc.Annotations["io.containerd.image.name"]
		if name != ref && full != ref && (ref != "" || len(top.Manifests) > 1) {
			names = append(names, name)
			continue
		}
		raw, err := s.Child(ctx, ref, desc, true, registry.ManifestLimit)
		if desc.MediaType == "" || err != nil {
			return desc, raw, err
		}
		desc.Annotations = withoutOwn(desc.Annotations)
		return desc, raw, nil
	}
	if ref == "" && len(top.Manifests) > 0 {
		mediaType := top.MediaType
		if mediaType == "" {
			mediaType = ocispecs.MediaTypeImageIndex
		}
		return ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw, nil
	}
	if ref == "" {
		return ocispecs.Descriptor{}, nil, fmt.Errorf("reading %q: it holds no image", where)
	}
	return ocispecs.Descriptor{}, nil, fmt.Errorf("reading %q: it holds no %q, only %s", where, ref, strings.Join(names, ", "))
}
