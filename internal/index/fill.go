package index

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/registry"
)

// Fill downloads the layers of a draft into its layout, so that tools which
// copy or run an image from a layout can. Nothing here needs them. Layers that
// are there already are not read again.
func Fill(ctx context.Context, client *registry.Client, d *Draft) error {
	layers := map[digest.Digest]blobCopy{}
	for _, desc := range d.Index.Manifests {
		raw, err := d.Blob(desc)
		if err != nil {
			return err
		}
		var m ocispecs.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return d.store.damaged("manifest "+desc.Digest.String(), err)
		}
		for _, layer := range m.Layers {
			layers[layer.Digest] = blobCopy{from: d.Source(desc.Digest), desc: layer}
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for _, layer := range layers {
		g.Go(func() error {
			if err := d.store.download(gctx, client, layer); err != nil {
				return fmt.Errorf("filling the draft of target %q: %w", d.Target, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// download streams a blob into the layout. It gets its name only when it is
// whole and verified.
func (s store) download(ctx context.Context, client *registry.Client, b blobCopy) error {
	if err := b.desc.Digest.Validate(); err != nil {
		return s.damaged("a layer's digest", err)
	}
	path := s.blobPath(b.desc.Digest)
	if info, err := os.Stat(path); err == nil && info.Size() == b.desc.Size {
		return nil
	}
	body, err := client.OpenBlob(ctx, b.from, b.desc.Digest)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return s.unwritable(err)
	}
	part, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return s.unwritable(err)
	}
	defer func() { // both without effect once it has its name
		_ = part.Close()
		_ = os.Remove(part.Name())
	}()
	// The body verifies its digest and fails at the end if it is another.
	if n, err := io.Copy(part, io.LimitReader(body, b.desc.Size+1)); err != nil {
		return fmt.Errorf("copying layer %s: %w", b.desc.Digest, err)
	} else if n != b.desc.Size {
		return fmt.Errorf("copying layer %s from %q: its manifest states %d bytes, it has another size; push the image again", b.desc.Digest, b.from, b.desc.Size)
	}
	if err := part.Chmod(0o644); err != nil {
		return s.unwritable(err)
	}
	if err := part.Sync(); err != nil {
		return s.unwritable(err)
	}
	if err := part.Close(); err != nil {
		return s.unwritable(err)
	}
	if err := os.Rename(part.Name(), path); err != nil {
		return s.unwritable(err)
	}
	return nil
}
