package registry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

// distribution runs the real registry with a configuration of its own: auth is
// the YAML of its auth section, tls says whether it speaks TLS.
func distribution(t *testing.T, auth, tls string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: real daemons take a while")
	}
	m, err := embedded.New(os.Environ(), nil)
	if err != nil {
		t.Fatal(err)
	}
	program, err := m.Part(t.Context(), embedded.Registry)
	embeddedtest.Need(t, err == nil, fmt.Sprintf("no registry on this machine: %v", err))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	dir := t.TempDir()
	config := writeFile(t, 0o600, fmt.Sprintf(`version: 0.1
log: {accesslog: {disabled: true}, level: error}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http:
  addr: %q
  secret: secret
%s%s`, filepath.Join(dir, "data"), address, tls, auth), dir, "config.yml")
	// Not the test's context, which ends before the cleanup of its servers.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the registry said: %s", said.String())
		}
	})
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		select {
		case <-limit:
			t.Fatalf("the registry does not listen: %v", err)
		case <-poll.C:
		}
	}
}

// authority is a certificate authority and what it signed for loopback.
type authority struct {
	caFile, certFile, keyFile string
	cert                      []byte // in DER
	key                       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	dir := t.TempDir()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, rootKey := issue(root, root, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, leafKey := issue(leaf, root, rootKey)
	leafKeyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		return writeFile(t, 0o600, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), dir, name)
	}
	return authority{
		caFile: write("ca.pem", "CERTIFICATE", rootDER), certFile: write("cert.pem", "CERTIFICATE", leafDER), keyFile: write("key.pem", "PRIVATE KEY", leafKeyDER),
		cert: leafDER, key: leafKey,
	}
}

// exercise does all that a release does with a registry.
func exercise(t *testing.T, host string, c *Client, sent func() int64) {
	t.Helper()
	ctx := t.Context()
	if err := c.Ping(ctx, host); err != nil {
		t.Fatal(err)
	}
	for _, repo := range []string{host + "/acme/app", host + "/acme/mirror"} {
		if err := c.CheckPush(ctx, repo); err != nil {
			t.Fatal(err)
		}
	}
	content := bytes.Repeat([]byte("layer "), 100_000)
	layer := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digest.FromBytes(content), Size: int64(len(content))}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	if err := c.PutBlob(ctx, host+"/acme/app", layer, open); err != nil {
		t.Fatal(err)
	}
	if got := sent(); got != layer.Size {
		t.Errorf("%d bytes were reported, the blob has %d", got, layer.Size)
	}
	if err := c.CopyBlob(ctx, host+"/acme/app", host+"/acme/mirror", layer); err != nil {
		t.Fatal(err)
	}
	if got := sent(); got != 0 {
		t.Errorf("%d bytes were sent from one repository to another of the same registry", got)
	}
	for _, repo := range []string{host + "/acme/app", host + "/acme/mirror"} {
		if got, err := c.Blob(ctx, repo, layer, 1<<20); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: the blob is not what was sent: %v", repo, err)
		}
	}
	want, _ := put(t, c, host+"/acme/app", "1")
	if got, err := c.Head(ctx, host+"/acme/app:1"); err != nil || got.Digest != want.Digest {
		t.Errorf("tag 1 is %s, %v", got.Digest, err)
	}
	for range 2 {
		if err := c.Untag(ctx, host+"/acme/app:1"); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Head(ctx, host+"/acme/app:1"); !IsNotFound(err) {
		t.Errorf("tag 1 is still there: %v", err)
	}
	if _, err := c.Head(ctx, host+"/acme/app@"+want.Digest.String()); err != nil {
		t.Errorf("the manifest went with its tag: %v", err)
	}
	if err := c.Untag(ctx, host+"/acme/app@"+want.Digest.String()); err == nil {
		t.Error("a manifest was deleted")
	}
}

// counter sums the bytes that a client reports and forgets them when asked.
func counter() (func(Progress), func() int64) {
	var mu sync.Mutex
	last := map[digest.Digest]int64{}
	report := func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		last[p.Digest] = p.Sent
	}
	return report, func() (n int64) {
		mu.Lock()
		defer mu.Unlock()
		for _, sent := range last {
			n += sent
		}
		clear(last)
		return n
	}
}

// TestBasicAuthOverTLS speaks to a real registry with htpasswd and TLS.
func TestBasicAuthOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	// bcrypt of "secret", of the lowest cost.
	users := writeFile(t, 0o600, "me:$2a$04$KdiSpHqCrNDQkXT1YpuoeeDXQ0L0UiEovtvdqlV8k2ZpT47WG3tyK\n", t.TempDir(), "htpasswd")
	host := distribution(t,
		fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", users),
		fmt.Sprintf("  tls: {certificate: %q, key: %q}\n", ca.certFile, ca.keyFile))
	declared := []Host{{Name: host, CAFile: ca.caFile}}
	login := func(password string) []string {
		return []string{writeFile(t, 0o600, auths(host, "me", password), t.TempDir(), "config.json")}
	}
	report, sent := counter()
	exercise(t, host, newTestClient(t, declared, Options{Credentials: credential.OfFiles(login("secret")...), Progress: report}), sent)
	tests := []struct {
		name     string
		declared []Host
		files    []string
		kind     Kind
	}{
		{"no credentials", declared, nil, Unauthorized},
		{"wrong credentials", declared, login("guess"), Denied},
		{"no authority", nil, login("secret"), Untrusted},
		{"not verified", []Host{{Name: host, SkipVerify: true}}, login("secret"), -1},
	}
	for _, tt := range tests {
		c := newTestClient(t, tt.declared, Options{Credentials: credential.OfFiles(tt.files...)})
		if err := c.CheckPush(t.Context(), host+"/acme/app"); kindOf(err) != tt.kind {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestTokenAuth speaks to a real registry that trusts a token service.
func TestTokenAuth(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	service := &tokenService{authority: ca}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	// By a name: the library sends nobody to a private address of another host.
	realm := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	host := distribution(t, fmt.Sprintf("auth: {token: {realm: %q, service: registry, issuer: test, rootcertbundle: %q}}\n", realm, ca.caFile), "")
	login := func(user, password string) []string {
		return []string{writeFile(t, 0o600, auths(host, user, password), t.TempDir(), "config.json")}
	}
	report, sent := counter()
	exercise(t, host, newTestClient(t, nil, Options{Credentials: credential.OfFiles(login("me", "secret")...), Progress: report}), sent)
	if !slices.ContainsFunc(service.scopes(), func(s string) bool { return strings.Contains(s, "delete") }) {
		t.Errorf("no token to delete a tag was asked for: %q", service.scopes())
	}

	reader := newTestClient(t, nil, Options{Credentials: credential.OfFiles(login("reader", "secret")...)})
	want, _ := put(t, newTestClient(t, nil, Options{Credentials: credential.OfFiles(login("me", "secret")...)}), host+"/acme/app", "2")
	if got, err := reader.Head(t.Context(), host+"/acme/app:2"); err != nil || got.Digest != want.Digest {
		t.Errorf("a reader cannot read: %v", err)
	}
	if err := reader.CheckPush(t.Context(), host+"/acme/app"); kindOf(err) != Denied {
		t.Errorf("a reader may push: %v", err)
	}
	anonymous := newTestClient(t, nil, Options{})
	if err := anonymous.CheckPush(t.Context(), host+"/acme/app"); kindOf(err) != Unauthorized {
		t.Errorf("anybody may push: %v", err)
	}
	wrong := newTestClient(t, nil, Options{Credentials: credential.OfFiles(login("me", "guess")...)})
	if _, err := wrong.Head(t.Context(), host+"/acme/app:2"); kindOf(err) != Denied {
		t.Errorf("wrong credentials: %v", err)
	}
}

// tokenService gives tokens as distribution checks them
// (https://distribution.github.io/distribution/spec/auth/jwt/). "me" may do
// anything, others pull.
type tokenService struct {
	authority authority
	mu        sync.Mutex
	asked     []string
}

func (s *tokenService) scopes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	if ok && password != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	granted := []access{}
	for _, scope := range r.URL.Query()["scope"] {
		s.mu.Lock()
		s.asked = append(s.asked, scope)
		s.mu.Unlock()
		parts := strings.Split(scope, ":")
		if len(parts) != 3 || !ok {
			continue
		}
		actions := strings.Split(parts[2], ",")
		if user != "me" {
			actions = []string{"pull"}
		}
		granted = append(granted, access{parts[0], parts[1], actions})
	}
	now := time.Now()
	token, err := s.token(map[string]any{
		"iss": "test", "sub": user, "aud": "registry", "jti": fmt.Sprint(now.UnixNano()),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(), "access": granted,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300})
}

// token is a JSON web token, signed by ES256 (RFC 7515 and 7518).
func (s *tokenService) token(claims map[string]any) (string, error) {
	header := map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(s.authority.cert)}}
	var parts []string
	for _, part := range []any{header, claims} {
		raw, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	hash := sha256.Sum256([]byte(strings.Join(parts, ".")))
	a, b, err := ecdsa.Sign(rand.Reader, s.authority.key, hash[:])
	if err != nil {
		return "", err
	}
	sig := make([]byte, 64)
	a.FillBytes(sig[:32])
	b.FillBytes(sig[32:])
	return strings.Join(append(parts, base64.RawURLEncoding.EncodeToString(sig)), "."), nil
}
