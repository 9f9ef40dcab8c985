package index

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/registry"
)

// Repositories returns the repositories that tags name, each once, in order.
func Repositories(tags []string) ([]string, error) {
	var repos []string
	seen := map[string]bool{}
	for _, tag := range tags {
		repo, err := registry.Repository(tag)
		if err != nil {
			return nil, err
		}
		if !seen[repo] {
			seen[repo] = true
			repos = append(repos, repo)
		}
	}
	return repos, nil
}

// Upload brings a draft into repositories: the blobs and manifests that are
// not there yet from where they were built (mounted where the registry can),
// byte for byte, and at last the index by its digest. No tag moves. What is
// there already costs one question each, also if the index is there: a registry
// may have lost a child of it. Of a new index, what this client saw a moment
// ago costs none.
func Upload(ctx context.Context, client *registry.Client, d *Draft, repositories []string) error {
	for _, repo := range repositories {
		if err := upload(ctx, client, d, repo); err != nil {
			return fmt.Errorf("uploading target %q to %q: %w", d.Target, repo, err)
		}
	}
	return nil
}

func upload(ctx context.Context, client *registry.Client, d *Draft, repo string) error {
	repo, err := registry.Repository(repo)
	if err != nil {
		return err
	}
	if d.Plain() { // it is its own only child
		_, err := complete(ctx, client, d, repo, false)
		return err
	}
	have, err := exists(ctx, client, repo, d.Descriptor.Digest)
	if err != nil && !denied(err) {
		return err
	}
	if have {
		_, err := complete(ctx, client, d, repo, false)
		return err
	}
	// The registry compares an index that is new with what it has, so children
	// that were read a moment ago are not asked for; unless it finds fault.
	trusted, err := complete(ctx, client, d, repo, true)
	if err == nil {
		err = putByDigest(ctx, client, repo, d.Descriptor, d.Raw)
	}
	var e *registry.Error
	if err == nil || trusted == 0 || !errors.As(err, &e) || e.Kind != registry.NotFound && e.Kind != registry.Failed {
		return err
	}
	if _, err := complete(ctx, client, d, repo, false); err != nil {
		return err
	}
	return putByDigest(ctx, client, repo, d.Descriptor, d.Raw)
}

// denied tells whether a registry says that a repository may not be read,
// which Docker Hub and Artifactory also say of one that does not exist yet. If
// it is denied indeed, the copy will say so.
func denied(err error) bool {
	var e *registry.Error
	return errors.As(err, &e) && e.Kind == registry.Denied
}

// complete brings the children that a repository does not have of a draft. With
// trust, those that this client saw there lately are taken to be there; it
// returns how many.
func complete(ctx context.Context, client *registry.Client, d *Draft, repo string, trust bool) (trusted int, err error) {
	missing, trusted, err := d.missing(ctx, client, repo, trust)
	if err != nil {
		return 0, err
	}
	// Blobs that several children share are copied once, and all of them
	// before the first manifest, which must not name what is not there.
	blobs := map[digest.Digest]blobCopy{}
	raws := make([][]byte, len(missing))
	for i, desc := range missing {
		if raws[i], err = d.Blob(desc); err != nil {
			return 0, err
		}
		var m ocispecs.Manifest
		if err := json.Unmarshal(raws[i], &m); err != nil {
			return 0, d.store.damaged("manifest "+desc.Digest.String(), err)
		}
		for _, blob := range append([]ocispecs.Descriptor{m.Config}, m.Layers...) {
			blobs[blob.Digest] = blobCopy{from: d.Source(desc.Digest), desc: blob}
		}
		if d.isRepaired(desc.Digest) {
			blobs[m.Config.Digest] = blobCopy{desc: m.Config}
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for _, blob := range blobs {
		g.Go(func() error {
			if blob.from == "" {
				return d.putConfig(gctx, client, repo, blob.desc)
			}
			return client.CopyBlob(gctx, blob.from, repo, blob.desc)
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for i, desc := range missing {
		g.Go(func() error { return putByDigest(gctx, client, repo, desc, raws[i]) })
	}
	return trusted, g.Wait()
}

// putConfig uploads the config of a repaired child, which only the draft has.
func (d *Draft) putConfig(ctx context.Context, client *registry.Client, repo string, desc ocispecs.Descriptor) error {
	raw, err := d.Blob(desc)
	if err != nil {
		return err
	}
	return client.PutBlob(ctx, repo, desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
}

type blobCopy struct {
	from string // "" for a config that only the draft has
	desc ocispecs.Descriptor
}

// missing lists the children and attestations that a repository does not have,
// and counts those that were not asked for.
func (d *Draft) missing(ctx context.Context, client *registry.Client, repo string, trust bool) (missing []ocispecs.Descriptor, trusted int, err error) {
	var mu sync.Mutex
	absent := map[digest.Digest]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for _, desc := range d.Index.Manifests {
		if trust && client.Seen(repo+"@"+desc.Digest.String()) {
			trusted++
			continue
		}
		g.Go(func() error {
			source, err := registry.Repository(d.Source(desc.Digest))
			if err != nil {
				return err
			}
			have, err := exists(gctx, client, repo, desc.Digest)
			if source != repo && denied(err) {
				err = nil
			}
			if err != nil || have {
				return err
			}
			if source == repo && !d.isRepaired(desc.Digest) {
				return fmt.Errorf("the manifest %s that was built is no longer there; run build again (or push its source again)", desc.Digest)
			}
			mu.Lock()
			defer mu.Unlock()
			absent[desc.Digest] = true
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	for _, desc := range d.Index.Manifests {
		if absent[desc.Digest] {
			missing = append(missing, desc)
		}
	}
	return missing, trusted, nil
}

func exists(ctx context.Context, client *registry.Client, repo string, d digest.Digest) (bool, error) {
	ref, err := registry.At(repo, d)
	if err != nil {
		return false, err
	}
	_, err = client.Head(ctx, ref)
	if registry.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func putByDigest(ctx context.Context, client *registry.Client, repo string, desc ocispecs.Descriptor, raw []byte) error {
	ref, err := registry.At(repo, desc.Digest)
	if err != nil {
		return err
	}
	return client.PutManifest(ctx, ref, desc.MediaType, raw)
}
