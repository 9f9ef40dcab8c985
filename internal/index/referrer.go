package index

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/registry"
)

// ArtifactTypeRecord is the artifact type of a release record.
const ArtifactTypeRecord = "application/vnd.archmage.release.v1+json"

// referrerLimit bounds the data of a referrer, in bytes.
const referrerLimit = 32 << 20

// referrerAttempts is how often a referrer that another process wrote over in
// the tag that stands for the referrers API is listed again.
const referrerAttempts = 3

// PushReferrer attaches data to a manifest or index of a repository, as an
// artifact manifest with one blob whose subject it is. The same data gives the
// same manifest. Where the registry has no referrers API, the tag that stands
// for it is written. It returns the digest of the artifact manifest.
// https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage
func PushReferrer(ctx context.Context, client *registry.Client, repo string, subject ocispecs.Descriptor, artifactType string, annotations map[string]string, data []byte) (digest.Digest, error) {
	wrap := func(err error) error {
		return fmt.Errorf("attaching %q to %q: %w", artifactType, repo+"@"+subject.Digest.String(), err)
	}
	layer := ocispecs.Descriptor{MediaType: artifactType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	// Registries of before artifactType list a referrer by its config's type.
	empty := ocispecs.DescriptorEmptyJSON
	empty.MediaType, empty.Data = artifactType, nil
	raw, err := json.Marshal(ocispecs.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispecs.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       empty,
		Layers:       []ocispecs.Descriptor{layer},
		Subject:      &ocispecs.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations:  annotations,
	})
	if err != nil {
		return "", wrap(err)
	}
	d := digest.FromBytes(raw)
	listed := func() (bool, error) {
		have, err := Referrers(ctx, client, repo, subject.Digest, artifactType)
		return slices.ContainsFunc(have, func(desc ocispecs.Descriptor) bool { return desc.Digest == d }), err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, blob := range []struct {
		desc ocispecs.Descriptor
		data []byte
	}{{empty, ocispecs.DescriptorEmptyJSON.Data}, {layer, data}} {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob.data)), nil }
		g.Go(func() error { return client.PutBlob(gctx, repo, blob.desc, open) })
	}
	if err := g.Wait(); err != nil {
		return "", wrap(err)
	}
	for range referrerAttempts {
		desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: d, Size: int64(len(raw))}
		if err := putByDigest(ctx, client, repo, desc, raw); err != nil {
			return "", wrap(err)
		}
		there, err := listed()
		if err != nil {
			return "", wrap(err)
		}
		if there {
			return d, nil
		}
	}
	return "", wrap(fmt.Errorf("the registry took %s but does not list it; run the same command again", d))
}

// Referrers lists the artifacts of a type that are attached to a manifest or
// index of a repository; all types for "".
func Referrers(ctx context.Context, client *registry.Client, repo string, subject digest.Digest, artifactType string) ([]ocispecs.Descriptor, error) {
	ref, err := registry.At(repo, subject)
	if err != nil {
		return nil, err
	}
	found, err := client.Referrers(ctx, ref)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(desc ocispecs.Descriptor) bool {
		return artifactType != "" && desc.ArtifactType != artifactType
	}), nil
}

// ReadReferrer returns the data of an artifact that Referrers listed.
func ReadReferrer(ctx context.Context, client *registry.Client, repo string, desc ocispecs.Descriptor) ([]byte, error) {
	ref, err := registry.At(repo, desc.Digest)
	if err != nil {
		return nil, err
	}
	_, raw, err := client.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading artifact %q: %w", ref, err)
	}
	if len(m.Layers) != 1 {
		return nil, fmt.Errorf("reading artifact %q: it has %d blobs where one was expected", ref, len(m.Layers))
	}
	return client.Blob(ctx, ref, m.Layers[0], referrerLimit)
}
