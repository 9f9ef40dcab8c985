// Package sign signs digests of images with a key pair, in the form that
// cosign verifies.
package sign

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// KeyError says why a key cannot be used.
type KeyError struct {
	// Path is the key's file.
	Path string
	// Reason says what is wrong, Hint what to do next.
	Reason, Hint string
	Err          error
}

// Error implements error.
func (e *KeyError) Error() string { return fmt.Sprintf("signing key %q %s", e.Path, e.Reason) }

// Unwrap gives the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// Remedy is what to do next.
func (e *KeyError) Remedy() string { return e.Hint }

// Key is a private key that signs. It is safe for concurrent use.
type Key struct{ pair signature.SignerVerifier }

// Check reports whether a file may be a private key, as far as can be told
// without its password. The error is a *KeyError.
func Check(path string) error {
	_, _, err := read(path)
	return err
}

func read(path string) (*pem.Block, []byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, &KeyError{Path: path, Reason: "cannot be read: " + err.Error(), Hint: "make one with `cosign generate-key-pair`, or correct the path in release { sign { key } }", Err: err}
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, nil, &KeyError{Path: path, Reason: "is no PEM file", Hint: "name the private key, cosign.key, that `cosign generate-key-pair` wrote"}
	}
	if block.Type == "PUBLIC KEY" {
		return nil, nil, &KeyError{Path: path, Reason: "is a public key, which only verifies", Hint: "name the private key beside it, cosign.key"}
	}
	return block, raw, nil
}

// Load reads a private key as `cosign generate-key-pair` writes it, encrypted
// with a password, or in PKCS #8, PKCS #1 or SEC 1 form.
func Load(path string, password []byte) (*Key, error) {
	block, raw, err := read(path)
	if err != nil {
		return nil, err
	}
	if password == nil {
		password = []byte{} // nil would mean that the key is not encrypted
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(raw, func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
			return nil, &KeyError{Path: path, Reason: "cannot be decrypted: " + err.Error(), Hint: "put its password into the environment variable that release { sign { password_env } } names (COSIGN_PASSWORD)", Err: err}
		}
		return nil, &KeyError{Path: path, Reason: "cannot be used: " + err.Error(), Hint: "make one with `cosign generate-key-pair`", Err: err}
	}
	// cosign's own choice for Ed25519.
	pair, err := signature.LoadDefaultSignerVerifier(private, options.WithED25519ph())
	if err != nil {
		return nil, &KeyError{Path: path, Reason: "cannot sign: " + err.Error(), Hint: "make one with `cosign generate-key-pair`", Err: err}
	}
	return &Key{pair: pair}, nil
}

// Sign signs a message.
func (k *Key) Sign(message []byte) ([]byte, error) {
	sig, err := k.pair.SignMessage(bytes.NewReader(message))
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return sig, nil
}

// ErrSignature says that a signature is not this key's, or of another message.
var ErrSignature = errors.New("the signature does not fit")

// Verify returns an error that is ErrSignature unless sig is this key's
// signature of the message.
func (k *Key) Verify(message, sig []byte) error {
	if err := k.pair.VerifySignature(bytes.NewReader(sig), bytes.NewReader(message)); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}
