package index_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/registry/registrytest"
	"github.com/archmage-build/archmage/internal/sign"
)

// keyPair makes a key pair and returns the private key, and the
// file of the public one.
func keyPair(t *testing.T) (*sign.Key, string) {
	t.Helper()
	// Not encrypted, which takes a second each time; encryption has tests of its own.
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"cosign.key": private, "cosign.pub": public} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := sign.Load(filepath.Join(dir, "cosign.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return key, filepath.Join(dir, "cosign.pub")
}

// verify does what cosign verify does, by sigstore's own verifier: it finds
// the signatures by their tag and returns how many are the key's.
func verify(t *testing.T, client *registry.Client, repo string, desc ocispecs.Descriptor, publicKey string) int {
	t.Helper()
	raw, err := os.ReadFile(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	_, raw, err = client.Manifest(t.Context(), repo+":"+strings.Replace(desc.Digest.String(), ":", "-", 1)+".sig")
	if registry.IsNotFound(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Blob(t.Context(), repo, m.Config, 1<<20); err != nil {
		t.Error(err)
	}
	fit := 0
	for _, layer := range m.Layers {
		message, err := client.Blob(t.Context(), repo, layer, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var claim payload.SimpleContainerImage
		if err := json.Unmarshal(message, &claim); err != nil {
			t.Fatal(err)
		}
		if got := claim.Critical.Image.DockerManifestDigest; got != desc.Digest.String() || claim.Critical.Type != payload.CosignSignatureType {
			t.Errorf("the payload is about %s", message)
		}
		sig, err := base64.StdEncoding.DecodeString(layer.Annotations["dev.cosignproject.cosign/signature"])
		if err != nil {
			t.Fatal(err)
		}
		if verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(message)) == nil {
			fit++
		}
	}
	return fit
}

func TestSign(t *testing.T) {
	t.Parallel()
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	var traffic requests
	host := registrytest.Serve(t, traffic.wrap)
	repos := []string{host + "/signed", host + "/mirror"}
	d, _ := assembled(t, client, dir, repos[0], true)
	if err := index.Upload(ctx, client, d, repos); err != nil {
		t.Fatal(err)
	}
	key, public := keyPair(t)
	if err := index.Sign(ctx, client, d, repos, key); err != nil {
		t.Fatal(err)
	}
	signed := append(d.Children(), d.Descriptor)
	for _, repo := range repos {
		for _, desc := range signed {
			if n := verify(t, client, repo, desc, public); n != 1 {
				t.Errorf("%s@%s has %d signatures", repo, desc.Digest, n)
			}
			if ok, err := index.Signed(ctx, client, repo, desc.Digest, key); err != nil || !ok {
				t.Errorf("%s@%s does not count as signed: %v", repo, desc.Digest, err)
			}
		}
	}
	traffic.reset()
	if err := index.Sign(ctx, client, d, repos, key); err != nil {
		t.Fatal(err)
	}
	if puts := append(traffic.matching(http.MethodPut, ""), traffic.matching(http.MethodPost, "")...); len(puts) != 0 {
		t.Errorf("to sign again wrote %q", puts)
	}
	other, otherPublic := keyPair(t)
	if ok, err := index.Signed(ctx, client, repos[0], d.Descriptor.Digest, other); err != nil || ok {
		t.Errorf("it counts as signed by another key: %v", err)
	}
	if err := index.Sign(ctx, client, d, repos[:1], other); err != nil {
		t.Fatal(err)
	}
	for _, desc := range signed {
		if a, b := verify(t, client, repos[0], desc, public), verify(t, client, repos[0], desc, otherPublic); a != 1 || b != 1 {
			t.Errorf("%s: %d signatures of the first key, %d of the second", desc.Digest, a, b)
		}
	}
	registrytest.Put(t, repos[1], sign.Tag(d.Descriptor.Digest), ocispecs.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"layers":[{"mediaType":"text/plain"}]}`))
	if err := index.Sign(ctx, client, d, repos[1:], key); err == nil || !strings.Contains(err.Error(), "remove the tag") {
		t.Errorf("a tag that holds something else: %v", err)
	}
}
