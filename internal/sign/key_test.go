package sign_test

import (
	"crypto/elliptic"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/archmage-build/archmage/internal/sign"
)

func password(text string) cryptoutils.PassFunc {
	return func(bool) ([]byte, error) { return []byte(text), nil }
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cosign.key")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKey(t *testing.T) {
	t.Parallel()
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), password("secret"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := sign.Load(write(t, private), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("message")
	sig, err := key.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Verify(message, sig); err != nil {
		t.Error(err)
	}
	if err := key.Verify([]byte("another"), sig); !errors.Is(err, sign.ErrSignature) {
		t.Errorf("another message: %v", err)
	}
	other, _, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), password(""))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := sign.Load(write(t, other), nil)
	if err != nil {
		t.Fatalf("an empty password: %v", err)
	}
	if err := stranger.Verify(message, sig); !errors.Is(err, sign.ErrSignature) {
		t.Errorf("another key: %v", err)
	}

	tests := []struct {
		name, path, password, says, next string
	}{
		{"wrong password", write(t, private), "guess", "cannot be decrypted", "COSIGN_PASSWORD"},
		{"public key", write(t, public), "", "public key", "private key"},
		{"no key", write(t, []byte("hello")), "", "no PEM", "cosign generate-key-pair"},
		{"another PEM", write(t, []byte("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")), "", "cannot be used", "cosign generate-key-pair"},
		{"no file", filepath.Join(t.TempDir(), "none"), "", "cannot be read", "cosign generate-key-pair"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := sign.Load(tt.path, []byte(tt.password))
			var e *sign.KeyError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.path) || !strings.Contains(e.Remedy(), tt.next) {
				t.Errorf("error %v, %+v", err, e)
			}
			if strings.Contains(err.Error(), tt.password) && tt.password != "" {
				t.Error("the error tells the password")
			}
		})
	}
}

func TestPayload(t *testing.T) {
	t.Parallel()
	d := digest.FromString("x")
	got, err := sign.Payload("index.docker.io/acme/app", d)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"critical":{"identity":{"docker-reference":"index.docker.io/acme/app"},"image":{"docker-manifest-digest":"` + d.String() + `"},"type":"cosign container image signature"},"optional":null}`
	if string(got) != want {
		t.Errorf("payload %s, want %s", got, want)
	}
	if tag := sign.Tag(d); tag != "sha256-"+d.Encoded()+".sig" {
		t.Errorf("tag %s", tag)
	}
}
