package index

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/sign"
)

// Signer signs and knows its own signatures; *sign.Key is one.
type Signer interface {
	Sign(message []byte) ([]byte, error)
	Verify(message, signature []byte) error
}

// Sign signs the index of a draft and each of its images in repositories that
// Upload brought it to, so that `cosign verify --key` accepts them. What this
// key signed already is left as it is; signatures of others are kept.
// Attestations are not signed: the index that is signed names them.
func Sign(ctx context.Context, client *registry.Client, d *Draft, repositories []string, signer Signer) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for _, repo := range repositories {
		all := d.Children()
		if !d.Plain() {
			all = append(all, d.Descriptor)
		}
		for _, desc := range all {
			g.Go(func() error {
				if err := signOne(gctx, client, repo, desc.Digest, signer); err != nil {
					return fmt.Errorf("signing target %q, %s: %w", d.Target, repo+"@"+desc.Digest.String(), err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// Signed tells whether a manifest of a repository carries this key's signature.
func Signed(ctx context.Context, client *registry.Client, repo string, d digest.Digest, signer Signer) (bool, error) {
	s, err := readSignatures(ctx, client, repo, d)
	if err != nil {
		return false, err
	}
	return s.by(signer), nil
}

// signatures is the manifest that holds the signatures of another one, in the
// form of https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md.
type signatures struct {
	repo, ref string
	payload   []byte // what is to be signed
	manifest  ocispecs.Manifest
	config    ocispecs.Image
}

func signOne(ctx context.Context, client *registry.Client, repo string, d digest.Digest, signer Signer) error {
	s, err := readSignatures(ctx, client, repo, d)
	if err != nil || s.by(signer) {
		return err
	}
	signature, err := signer.Sign(s.payload)
	if err != nil {
		return err
	}
	layer := ocispecs.Descriptor{
		MediaType: sign.MediaTypePayload, Digest: digest.FromBytes(s.payload), Size: int64(len(s.payload)),
		Annotations: map[string]string{sign.AnnotationSignature: base64.StdEncoding.EncodeToString(signature)},
	}
	s.manifest.Layers = append(s.manifest.Layers, layer)
	s.config.RootFS.DiffIDs = append(s.config.RootFS.DiffIDs, layer.Digest)
	config, err := json.Marshal(s.config)
	if err != nil {
		return fmt.Errorf("encoding the config of the signatures: %w", err)
	}
	s.manifest.Config = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	raw, err := json.Marshal(s.manifest)
	if err != nil {
		return fmt.Errorf("encoding the signatures: %w", err)
	}
	for _, blob := range []struct {
		desc ocispecs.Descriptor
		data []byte
	}{{layer, s.payload}, {s.manifest.Config, config}} {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob.data)), nil }
		if err := client.PutBlob(ctx, repo, blob.desc, open); err != nil {
			return err
		}
	}
	return client.PutManifest(ctx, s.ref, ocispecs.MediaTypeImageManifest, raw)
}

// readSignatures reads the signatures that a manifest has, none if there are
// none yet.
func readSignatures(ctx context.Context, client *registry.Client, repo string, d digest.Digest) (*signatures, error) {
	repo, err := registry.Repository(repo)
	if err != nil {
		return nil, err
	}
	s := &signatures{repo: repo, ref: repo + ":" + sign.Tag(d)}
	named, err := client.Parse(repo + "@" + d.String())
	if err != nil {
		return nil, err
	}
	if s.payload, err = sign.Payload(named.Context().Name(), d); err != nil {
		return nil, err
	}
	_, raw, err := client.Manifest(ctx, s.ref)
	if registry.IsNotFound(err) {
		s.manifest = ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest}
		s.config.RootFS.Type = "layers"
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &s.manifest); err != nil {
		return nil, fmt.Errorf("reading the signatures %q: %w; remove the tag and sign again", s.ref, err)
	}
	for _, layer := range s.manifest.Layers {
		if layer.MediaType != sign.MediaTypePayload {
			return nil, fmt.Errorf("reading the signatures %q: it holds %q; remove the tag and sign again", s.ref, layer.MediaType)
		}
	}
	if raw, err = client.Blob(ctx, repo, s.manifest.Config, configLimit); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &s.config); err != nil {
		return nil, fmt.Errorf("reading the signatures %q: their config: %w; remove the tag and sign again", s.ref, err)
	}
	if len(s.config.RootFS.DiffIDs) != len(s.manifest.Layers) {
		return nil, fmt.Errorf("reading the signatures %q: %w; remove the tag and sign again", s.ref, errors.New("their config does not fit them"))
	}
	return s, nil
}

// by tells whether one of the signatures is the signer's, of our payload.
func (s *signatures) by(signer Signer) bool {
	for _, layer := range s.manifest.Layers {
		signature, err := base64.StdEncoding.DecodeString(layer.Annotations[sign.AnnotationSignature])
		if err == nil && layer.Digest == digest.FromBytes(s.payload) && signer.Verify(s.payload, signature) == nil {
			return true
		}
	}
	return false
}
