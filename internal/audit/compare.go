package audit

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/registry"
)

// Store is where the blobs of an image lie.
type Store interface {
	Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error)
	OpenBlob(ctx context.Context, ref string, digest digest.Digest) (io.ReadCloser, error)
}

// Difference is the first place at which two images differ.
type Difference struct {
	// Layer counts from 1, the base first; 0 if the layers are the same.
	Layer int `json:"layer,omitempty"`
	// Step is the Dockerfile's step that made the layer.
	Step string `json:"step,omitempty"`
	// Path of the file within the layer; "" if its files are the same.
	Path string `json:"path,omitempty"`
	// What differs, and how: "mode 0644, then 0600".
	What string `json:"what"`
}

func (d Difference) String() string {
	var b strings.Builder
	if d.Layer > 0 {
		fmt.Fprintf(&b, "layer %d", d.Layer)
		if d.Step != "" {
			fmt.Fprintf(&b, " (%s)", Printable(d.Step))
		}
		b.WriteString(", ")
	}
	if d.Path != "" {
		b.WriteString(Printable(d.Path) + ": ")
	}
	return b.String() + Printable(d.What)
}

// Compare returns the first place at which two images differ, nil if they have
// one manifest. Refs are by digest. Attestations beside an image are not part of
// it. An error means that one could not be read.
func Compare(ctx context.Context, a Store, refA string, b Store, refB string) (*Difference, error) {
	x, err := openImage(ctx, a, refA)
	if err != nil {
		return nil, err
	}
	y, err := openImage(ctx, b, refB)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(x.raw, y.raw) {
		return nil, nil
	}
	steps := x.steps()
	for i := range min(len(x.Layers), len(y.Layers)) {
		if x.Layers[i].Digest == y.Layers[i].Digest {
			continue
		}
		d := &Difference{Layer: i + 1}
		if i < len(steps) {
			d.Step = steps[i]
		}
		d.Path, d.What, err = compareLayers(ctx, x, y, i)
		return d, err
	}
	if len(x.Layers) != len(y.Layers) {
		return &Difference{What: fmt.Sprintf("%d layers, then %d", len(x.Layers), len(y.Layers))}, nil
	}
	if what := compareJSON("", x.config, y.config); what != "" {
		return &Difference{What: "the configuration's " + what}, nil
	}
	return &Difference{What: "the manifest's " + compareJSON("", x.raw, y.raw)}, nil
}

// imageOf is an image whose layers are read on demand.
type imageOf struct {
	ocispecs.Manifest
	store       Store
	ref         string
	raw, config []byte
}

func openImage(ctx context.Context, s Store, ref string) (*imageOf, error) {
	desc, raw, err := s.Manifest(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	if types.MediaType(desc.MediaType).IsIndex() {
		var index ocispecs.Index
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, fmt.Errorf("reading %s: %w", ref, err)
		}
		if len(index.Manifests) == 0 {
			return nil, fmt.Errorf("reading %s: it is an empty index", ref)
		}
		if ref, err = registry.At(ref, index.Manifests[0].Digest); err != nil { // attestations come behind
			return nil, err
		}
		if _, raw, err = s.Manifest(ctx, ref); err != nil {
			return nil, fmt.Errorf("reading %s: %w", ref, err)
		}
	}
	im := &imageOf{store: s, ref: ref, raw: raw}
	if err := json.Unmarshal(raw, &im.Manifest); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	body, err := s.OpenBlob(ctx, ref, im.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", ref, err)
	}
	defer func() { _ = body.Close() }() // only read
	if im.config, err = io.ReadAll(io.LimitReader(body, configLimit)); err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", ref, err)
	}
	return im, nil
}

// steps are what made each layer, as the history has it.
func (im *imageOf) steps() []string {
	var c ocispecs.Image
	if json.Unmarshal(im.config, &c) != nil {
		return nil
	}
	var out []string
	for _, h := range c.History {
		if !h.EmptyLayer {
			out = append(out, strings.TrimSuffix(h.CreatedBy, " # buildkit"))
		}
	}
	return out
}

// compressedLayer is a layer as go-containerregistry decompresses it.
type compressedLayer struct {
	open func() (io.ReadCloser, error)
	desc ocispecs.Descriptor
}

func (l compressedLayer) Digest() (v1.Hash, error) { return v1.NewHash(l.desc.Digest.String()) }
func (l compressedLayer) Size() (int64, error)     { return l.desc.Size, nil }
func (l compressedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.desc.MediaType), nil
}
func (l compressedLayer) Compressed() (io.ReadCloser, error) { return l.open() }

// layerEntry is an entry of a layer, in the words of a difference.
type layerEntry struct {
	fields []string // as named by entryFields
}

// entryFields are what an entry is compared by, in the order it is said.
var entryFields = []string{"type", "mode", "owner", "link", "size", "content", "attributes", "time"}

func compareLayers(ctx context.Context, x, y *imageOf, i int) (path, what string, err error) {
	order, before, err := x.entries(ctx, i)
	if err != nil {
		return "", "", err
	}
	order2, after, err := y.entries(ctx, i)
	if err != nil {
		return "", "", err
	}
	for _, path := range order {
		other, ok := after[path]
		if !ok {
			return path, "it is not there the second time", nil
		}
		for n, field := range entryFields {
			if was, is := before[path].fields[n], other.fields[n]; was != is {
				if field == "content" || field == "attributes" {
					return path, field + " differs", nil
				}
				return path, fmt.Sprintf("%s %s, then %s", field, was, is), nil
			}
		}
	}
	for _, path := range order2 {
		if _, ok := before[path]; !ok {
			return path, "it is there only the second time", nil
		}
	}
	if !slices.Equal(order, order2) {
		return "", "the same files in another order", nil
	}
	return "", "the same files, packed or compressed in another way", nil
}

// entries are those of a layer, and their order.
func (im *imageOf) entries(ctx context.Context, i int) ([]string, map[string]layerEntry, error) {
	desc := im.Layers[i]
	fail := func(err error) ([]string, map[string]layerEntry, error) {
		return nil, nil, fmt.Errorf("reading layer %s of %s: %w", desc.Digest, im.ref, err)
	}
	layer, err := partial.CompressedToLayer(compressedLayer{desc: desc, open: func() (io.ReadCloser, error) {
		return im.store.OpenBlob(ctx, im.ref, desc.Digest)
	}})
	if err != nil {
		return fail(err)
	}
	body, err := layer.Uncompressed()
	if err != nil {
		return fail(err)
	}
	defer func() { _ = body.Close() }() // only read
	var order []string
	out := map[string]layerEntry{}
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return order, out, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fail(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			return fail(err)
		}
		var extra []string
		for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			if strings.HasPrefix(k, "SCHILY.xattr.") {
				extra = append(extra, k+"="+h.PAXRecords[k])
			}
		}
		order = append(order, h.Name)
		out[h.Name] = layerEntry{[]string{
			kindOfTar(h.Typeflag), fmt.Sprintf("%04o", h.Mode&0o7777), fmt.Sprintf("%d:%d", h.Uid, h.Gid), h.Linkname,
			fmt.Sprint(h.Size), fmt.Sprintf("%x", sum.Sum(nil)), strings.Join(extra, " "), h.ModTime.UTC().Format(time.RFC3339Nano),
		}}
	}
}

func kindOfTar(flag byte) string {
	switch flag {
	case tar.TypeReg:
		return "file"
	case tar.TypeDir:
		return "directory"
	case tar.TypeSymlink:
		return "symbolic link"
	case tar.TypeLink:
		return "hard link"
	}
	return fmt.Sprintf("tar's %q", flag)
}

// compareJSON names the first field of two objects that differs, "" for none.
func compareJSON(at string, a, b json.RawMessage) string {
	var x, y map[string]json.RawMessage
	if json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil {
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if what := compareJSON(strings.TrimPrefix(at+"."+k, "."), x[k], y[k]); what != "" {
				return what
			}
			delete(y, k)
		}
		for _, k := range slices.Sorted(maps.Keys(y)) {
			return fmt.Sprintf("%s: nothing, then %s", strings.TrimPrefix(at+"."+k, "."), y[k])
		}
		return ""
	}
	var u, v []json.RawMessage
	if json.Unmarshal(a, &u) == nil && json.Unmarshal(b, &v) == nil && len(u) == len(v) {
		for i := range u {
			if what := compareJSON(fmt.Sprintf("%s[%d]", at, i), u[i], v[i]); what != "" {
				return what
			}
		}
		return ""
	}
	if bytes.Equal(a, b) {
		return ""
	}
	or := func(r json.RawMessage) string {
		if len(r) == 0 {
			return "nothing"
		}
		return string(r)
	}
	return fmt.Sprintf("%s: %s, then %s", at, or(a), or(b))
}
