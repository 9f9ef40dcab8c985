package index_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/sign"
)

// TestCosignVerifies lets cosign itself judge our signatures.
func TestCosignVerifies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: to compile cosign takes minutes once")
	}
	cosign := embeddedtest.Peer(t, "cosign")
	ctx, client, dir := t.Context(), newClient(t), t.TempDir()
	repo := embeddedtest.Registry(t) + "/cosigned"
	d, _ := assembled(t, client, dir, repo, true)
	if err := index.Upload(ctx, client, d, []string{repo}); err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir()
	generate := exec.CommandContext(ctx, cosign, "generate-key-pair")
	generate.Dir, generate.Env = keys, append(os.Environ(), "COSIGN_PASSWORD=secret")
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("making a key pair: %v: %s", err, out)
	}
	key, err := sign.Load(filepath.Join(keys, "cosign.key"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(keys, "cosign.pub")
	_, stranger := keyPair(t)
	// Without the transparency log, which a key pair does not need.
	verify := func(ref, key string) ([]byte, error) {
		return exec.CommandContext(ctx, cosign, "verify", "--key", key, "--insecure-ignore-tlog=true", "--allow-http-registry", ref).CombinedOutput()
	}
	ref := repo + "@" + d.Descriptor.Digest.String()
	if out, err := verify(ref, public); err == nil {
		t.Errorf("cosign accepts what was not signed: %s", out)
	}
	if err := index.Sign(ctx, client, d, []string{repo}, key); err != nil {
		t.Fatal(err)
	}
	for _, desc := range append(d.Children(), d.Descriptor) {
		if out, err := verify(repo+"@"+desc.Digest.String(), public); err != nil {
			t.Errorf("cosign refuses %s: %v: %s", desc.Digest, err, out)
		}
	}
	if out, err := verify(ref, stranger); err == nil {
		t.Errorf("cosign accepts another key: %s", out)
	}
}
