package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	imagearchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/ociindex"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/oci"
)

// mergeTars writes the file trees of several platforms into one archive, each
// below its directory, as BuildKit does for a build of all of them:
// https://github.com/moby/buildkit/blob/v0.34.2/exporter/tar/export.go.
func (d *delivery) mergeTars(whole string) (err error) {
	out, err := os.Create(whole)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	order := make([]int, len(d.builds))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return strings.Compare(platformDirectory(d.builds[a]), platformDirectory(d.builds[b]))
	})
	w := tar.NewWriter(out)
	for _, i := range order {
		dir := platformDirectory(d.builds[i])
		at := time.Unix(0, 0)
		if t, err := parseEpoch(argument(d.builds[i], d.options)); err == nil && t != nil {
			at = *t
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: at}); err != nil {
			return err
		}
		if err := appendTar(w, d.received[i], dir); err != nil {
			return err
		}
	}
	return w.Close()
}

// appendTar copies an archive's entries below a directory.
func appendTar(w *tar.Writer, name, dir string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what the worker sent for %s: %w", dir, err)
		}
		h.Name = dir + "/" + h.Name
		delete(h.PAXRecords, "path")
		delete(h.PAXRecords, "linkpath")
		switch {
		case h.Typeflag == tar.TypeLink:
			h.Linkname = path.Join(dir, h.Linkname) //nolint:gosec // nothing is extracted
		case h.Typeflag == tar.TypeSymlink && strings.HasPrefix(h.Linkname, "/"):
			h.Linkname = path.Join("/"+dir, h.Linkname) //nolint:gosec // nothing is extracted
		}
		h.Format = tar.FormatUnknown // a longer name may need another
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil { //nolint:gosec // as long as its header says
			return err
		}
	}
}

// collect brings the images of all platforms into a content store at dir, and
// returns the one image, or the index of several that a build of all platforms
// would have made, with the names it shall have.
func (d *delivery) collect(ctx context.Context, dir string) (content.Store, ocispecs.Descriptor, []string, error) {
	fail := func(err error) (content.Store, ocispecs.Descriptor, []string, error) {
		return nil, ocispecs.Descriptor{}, nil, err
	}
	store, err := local.NewStore(dir)
	if err != nil {
		return fail(err)
	}
	var found []ocispecs.Descriptor
	for i, name := range d.received {
		desc, err := importImage(ctx, store, name)
		if err != nil {
			return fail(fmt.Errorf("reading what the worker sent for %s: %w", d.builds[i].PlatformName(), err))
		}
		found = append(found, desc)
	}
	names, err := d.names()
	if err != nil {
		return fail(err)
	}
	image := found[0]
	if len(d.target.Builds) > 1 {
		if image, err = d.index(ctx, store, found); err != nil {
			return fail(err)
		}
	}
	image.Platform = nil
	image.Annotations = map[string]string{ocispecs.AnnotationCreated: d.created().UTC().Format(time.RFC3339)}
	return store, image, names, nil
}

// importImage reads an image archive into the store. It holds one image, under
// however many names.
func importImage(ctx context.Context, store content.Store, name string) (ocispecs.Descriptor, error) {
	in, err := os.Open(name)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	defer func() { _ = in.Close() }() // only read
	top, err := imagearchive.ImportIndex(ctx, store, in)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	raw, err := content.ReadBlob(ctx, store, top)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	if err := store.Delete(ctx, top.Digest); err != nil && !errdefs.IsNotFound(err) {
		return ocispecs.Descriptor{}, err // it is the archive's table, no part of the image
	}
	var idx ocispecs.Index
	if err := json.Unmarshal(raw, &idx); err != nil {
		return ocispecs.Descriptor{}, err
	}
	if len(idx.Manifests) == 0 {
		return ocispecs.Descriptor{}, errors.New("it holds no image")
	}
	m := idx.Manifests[0]
	return ocispecs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size}, nil
}

// index writes the index of several platforms, attestations behind the images, as
// https://github.com/moby/buildkit/blob/v0.34.2/exporter/containerimage/writer.go.
func (d *delivery) index(ctx context.Context, store content.Store, found []ocispecs.Descriptor) (ocispecs.Descriptor, error) {
	idx := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex}
	if d.output.Attrs["oci-mediatypes"] == "false" {
		idx.MediaType = images.MediaTypeDockerSchema2ManifestList
	}
	var attestations []ocispecs.Descriptor
	for i, desc := range found {
		if !oci.IsIndex(desc.MediaType) {
			desc.Platform = &d.builds[i].Platform
			idx.Manifests = append(idx.Manifests, desc)
			continue
		}
		raw, err := content.ReadBlob(ctx, store, desc)
		if err != nil {
			return desc, err
		}
		var of ocispecs.Index
		if err := json.Unmarshal(raw, &of); err != nil {
			return desc, err
		}
		for _, m := range of.Manifests {
			if m.Platform != nil && m.Platform.Architecture == "unknown" {
				attestations = append(attestations, m)
				continue
			}
			m.Platform = &d.builds[i].Platform
			idx.Manifests = append(idx.Manifests, m)
		}
		if err := store.Delete(ctx, desc.Digest); err != nil {
			return desc, err
		}
	}
	d.annotate(&idx)
	idx.Manifests = append(idx.Manifests, attestations...)
	raw, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	desc := ocispecs.Descriptor{MediaType: idx.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	err = content.WriteBlob(ctx, store, desc.Digest.String(), bytes.NewReader(raw), desc)
	if errdefs.IsAlreadyExists(err) {
		err = nil
	}
	return desc, err
}

// annotate writes what the target says of the index and its descriptors.
func (d *delivery) annotate(idx *ocispecs.Index) {
	set := func(m *map[string]string, a config.Annotation) {
		if *m == nil {
			*m = map[string]string{}
		}
		(*m)[a.Key] = a.Value
	}
	for _, a := range d.target.Spec.AnnotationList() {
		switch a.Level {
		case "index":
			set(&idx.Annotations, a)
		case "manifest-descriptor":
			for i := range idx.Manifests {
				m := &idx.Manifests[i]
				if a.Platform == nil || config.FormatPlatform(*a.Platform) == config.FormatPlatform(*m.Platform) {
					set(&m.Annotations, a)
				}
			}
		}
	}
}

func (d *delivery) created() time.Time {
	if t := layers(d.builds[0], d.options); t != nil {
		return *t
	}
	return time.Now()
}

// names are those that the image has in the file, complete.
func (d *delivery) names() ([]string, error) {
	attrs := map[string]string{"name": d.output.Attrs["name"]}
	imageAttrs(attrs, d.builds[0], d.options)
	var out []string
	for _, n := range strings.Split(attrs["name"], ",") {
		if n == "" {
			continue
		}
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return nil, fmt.Errorf("the name %q: %w", n, err)
		}
		out = append(out, reference.TagNameOnly(named).String())
	}
	return out, nil
}

// archive writes the image of several platforms into one file.
func (d *delivery) archive(whole string) (err error) {
	ctx := context.Background() // a part of what is on this disk anyway
	store, image, names, err := d.collect(ctx, filepath.Join(d.dir, "content"))
	if err != nil {
		return err
	}
	out, err := os.Create(whole)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return imagearchive.Export(ctx, store, out, imagearchive.WithManifest(image, names...), imagearchive.WithAllPlatforms(), imagearchive.WithSkipDockerManifest())
}

// layout writes the image as an OCI image layout directory.
func (d *delivery) layout(whole string) error {
	_, image, names, err := d.collect(context.Background(), whole)
	if err != nil {
		return err
	}
	var tags []ociindex.NameOrTag
	for _, n := range names {
		tags = append(tags, ociindex.Name(n))
	}
	if err := ociindex.NewStoreIndex(whole).Put(image, tags...); err != nil {
		return err
	}
	err = os.Remove(filepath.Join(whole, "ingest"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}
