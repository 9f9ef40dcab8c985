package release

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/archmage-build/archmage/internal/ui"
)

// certificate returns a self-signed certificate and its key in PEM form.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", raw)
}

// What a configuration names and is not as it must be is told with the place
// where it stands, before anything is touched; what may be right is let be.
// In each configuration the line that is wrong ends with "# here".
func TestFilesThatAreNamed(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	_, otherKey := certificate(t)
	common := map[string]string{
		"Dockerfile": "FROM scratch\n", "app/Dockerfile": "FROM scratch\n", "file": "", "dir/x": "", "docker/Dockerfile.arm": "FROM scratch\n",
		"ca.pem": cert, "key.pem": key, "other.pem": otherKey, "both.pem": "text\n" + key + cert, "garbage.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"empty.pem": "", "mixed.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + cert,
		"cosign.pub":        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"layout/index.json": `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("a", 64) + `","size":2,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`,
		"layout/oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "broken/index.json": "{", "bare/oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"bad/.dockerignore": "# first\n*.log\n[\n", "bad/Dockerfile": "FROM scratch\n",
		"own/.dockerignore": "[", "own/Dockerfile": "FROM scratch\n", "own/Dockerfile.dockerignore": "ok\n",
		"ownbad/.dockerignore": "ok", "ownbad/Dockerfile": "FROM scratch\n", "ownbad/Dockerfile.dockerignore": "ok\n!\n",
		"fine/.dockerignore": "\xef\xbb\xbf# BOM\n\n!keep\n**/x?[a-z]\\[\n", "fine/Dockerfile": "FROM scratch\n",
		"lower/dockerfile": "FROM scratch\n", "isdir/Dockerfile/x": "",
	}
	target := func(lines ...string) string {
		return "target \"app\" {\n  tags = [\"r.example/app:1\"]\n  " + strings.Join(lines, "\n  ") + "\n}\n"
	}
	for _, tt := range []struct {
		name string
		text string
		says string // "" where it is well
		file string // where, if not targets.hcl
		line int    // in it
	}{
		{"well", target(`context = "app"`), "", "", 0},
		{"context missing", target(`context = "nowhere" # here`), "nowhere, which is not there", "", 0},
		{"context is a file", target(`context = "file" # here`), "is a file", "", 0},
		{"context by git", target(`context = "https://git.example/x.git"`), "", "", 0},
		{"dockerfile missing", target(`dockerfile = "no" # here`), "no, which is not there", "", 0},
		{"dockerfile is a directory", target(`context = "isdir"`, `dockerfile = "Dockerfile" # here`), "is a directory", "", 0},
		{"dockerfile in lower case", target(`context = "lower"`), "", "", 0},
		{"dockerfile of the working directory", target(`context = "app"`, `dockerfile = "cwd://docker/Dockerfile.arm"`), "", "", 0},
		{"dockerfile missing there", target(`context = "app"`, `dockerfile = "cwd://Dockerfile.arm" # here`), "is not there", "", 0},
		{"inline", target(`context = "dir"`, `dockerfile-inline = "FROM scratch"`), "", "", 0},

		{"named context", target(`contexts = { x = "./dir" }`), "", "", 0},
		{"named context missing", target(`contexts = { x = "./nowhere" } # here`), `context "x" of target "app" is the directory`, "", 0},
		{"named context is a file", target(`contexts = { x = "file" } # here`), "is a file", "", 0},
		{"named context missing for one platform", target(`platforms = ["linux/amd64", "linux/arm64"]`, `contexts = { x = "cwd://nowhere" } # here`), "is not there", "", 0},
		{"named context by git", target(`contexts = { x = "https://git.example/x.git#main:sub" }`), "", "", 0},
		{"named context is an image", target(`contexts = { x = "docker-image://alpine:3" }`), "", "", 0},
		{"named context is no image", target(`contexts = { x = "docker-image://Alpine:3" } # here`), "no reference", "", 0},
		{"named context is a target", target(`contexts = { x = "target:base" }`) + "target \"base\" { context = \"app\" }\n", "", "", 0},
		{"a base's context missing", target(`contexts = { x = "target:base" }`) + "target \"base\" {\n  context = \"nowhere\" # here\n}\n", "is not there", "", 0},
		{"a name that no Dockerfile has", target(`contexts = { "A B" = "dir" } # here`), "No Dockerfile can name", "", 0},
		{"layout", target(`contexts = { x = "oci-layout://layout" }`), "", "", 0},
		{"layout with a tag", target(`contexts = { x = "oci-layout://./layout:latest" }`), "", "", 0},
		{"layout missing", target(`contexts = { x = "oci-layout://nowhere" } # here`), "no index.json", "", 0},
		{"layout without an index", target(`contexts = { x = "oci-layout://bare" } # here`), "no index.json", "", 0},
		{"layout without the tag", target(`contexts = { x = "oci-layout://layout:2" } # here`), `no image "2"`, "", 0},
		{"layout with a broken index", target(`contexts = { x = "oci-layout://broken" } # here`), "cannot be used", "", 0},

		{"ignore file", target(`context = "fine"`), "", "", 0},
		{"bad pattern", target(`context = "bad"`), "is no pattern", "bad/.dockerignore", 3},
		{"bad pattern of a named context", target(`contexts = { x = "bad" }`, `dockerfile-inline = "FROM scratch\nCOPY --from=x / /"`), "is no pattern", "bad/.dockerignore", 3},
		{"bad pattern of one that is not used", target(`contexts = { y = "bad" }`, `dockerfile-inline = "FROM scratch"`), "", "", 0},
		{"bad pattern that does not count", target(`context = "own"`), "", "", 0},
		{"bad pattern of an inline Dockerfile", target(`context = "own"`, `dockerfile-inline = "FROM scratch"`), "is no pattern", "own/.dockerignore", 1},
		{"bad pattern of the Dockerfile's own", target(`context = "ownbad"`), "is no pattern", "ownbad/Dockerfile.dockerignore", 2},

		{"prepare makes it", target(`contexts = { x = "made" }`, `dockerfile = "made/Dockerfile"`, `prepare { command = ["true"] }`), "", "", 0},
		{"prepare runs nowhere", target(`prepare {`, `  command = ["true"]`, `  dir = "nowhere" # here`, `}`), "runs in the directory", "", 0},
		{"prepare runs in a context that is missing", target(`context = "nowhere"`, `prepare { # here`, `  command = ["true"]`, `}`), "runs in the directory", "", 0},
		{"a size that is none", target(`shm-size = "much"`) + "", "is no size", "", 1},

		{"CA", target() + "registry \"r.example\" { ca = \"ca.pem\" }\n", "", "", 0},
		{"CA among others", target() + "registry \"r.example\" { ca = \"mixed.pem\" }\nregistry \"s.example\" { ca = \"both.pem\" }\n", "", "", 0},
		{"CA missing", target() + "registry \"r.example\" { ca = \"nowhere.pem\" } # here\n", "is not there", "", 0},
		{"CA is a directory", target() + "registry \"r.example\" { ca = \"dir\" } # here\n", "is a directory", "", 0},
		{"CA is a key", target() + "registry \"r.example\" { ca = \"key.pem\" } # here\n", "no PEM certificate", "", 0},
		{"CA is empty", target() + "registry \"r.example\" { ca = \"empty.pem\" } # here\n", "no PEM certificate", "", 0},
		{"CA is garbage", target() + "registry \"r.example\" { ca = \"garbage.pem\" } # here\n", "no certificate that can be read", "", 0},
		{"TLS", target() + tlsBlock(`ca = "ca.pem"`, `cert = "ca.pem"`, `key = "key.pem"`), "", "", 0},
		{"TLS CA missing", target() + tlsBlock(`ca = "nowhere.pem" # here`), "is not there", "", 0},
		{"TLS CA is none", target() + tlsBlock(`ca = "file" # here`), "no PEM certificate", "", 0},
		{"TLS key missing", target() + tlsBlock(`cert = "ca.pem"`, `key = "nowhere.pem" # here`), "is not there", "", 0},
		{"TLS certificate missing", target() + tlsBlock(`cert = "nowhere.pem" # here`, `key = "key.pem"`), "is not there", "", 0},
		{"TLS key of another", target() + tlsBlock(`cert = "ca.pem" # here`, `key = "other.pem"`), "does not match", "", 0},
		{"TLS certificate alone", target() + tlsBlock(`cert = "ca.pem"`), "go together", "", 7},
		{"signing key missing", target() + signBlock(`key = "nowhere.key" # here`), "cannot be read", "", 0},
		{"signing key is public", target() + signBlock(`key = "cosign.pub" # here`), "is a public key", "", 0},
		{"signing key", target() + signBlock(`key = "key.pem"`), "", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put := func(name, content string) {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for name, content := range common {
				put(name, content)
			}
			put("targets.hcl", tt.text)
			before := tree(t, dir)
			streams, _, shown := ui.Buffers(ui.Traits{})
			w, err := Open(dir, streams, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, releaseErr := w.loadPublishable(Selection{Targets: []string{"app"}})
			planErr := w.Plan(PlanOptions{Selection: Selection{Targets: []string{"app"}}})
			if after := tree(t, dir); after != before {
				t.Errorf("files were touched: %s", after)
			}
			if tt.says == "" {
				if releaseErr != nil || planErr != nil {
					t.Errorf("%v, %v", releaseErr, planErr)
				}
				return
			}
			for task, err := range map[string]error{"release": releaseErr, "plan": planErr} {
				var input *InputError
				if !errors.As(err, &input) {
					t.Fatalf("%s: %v", task, err)
				}
				if len(input.Diags) != 1 {
					t.Errorf("%s: said %d times: %v", task, len(input.Diags), input.Diags)
				}
				d := input.Diags[0]
				file, line := "targets.hcl", tt.line
				if tt.file != "" {
					file = tt.file
				}
				if line == 0 {
					line = 1 + strings.Count(tt.text[:strings.Index(tt.text, "# here")], "\n")
				}
				if d.Subject == nil || d.Subject.Filename != file || d.Subject.Start.Line != line {
					t.Errorf("%s: at %v, want %s:%d", task, d.Subject, file, line)
				}
				if !strings.Contains(d.Detail, tt.says) {
					t.Errorf("%s: %q, want %q", task, d.Detail, tt.says)
				}
				shown.Reset()
				if err := ui.Diagnostics(streams.Err, hcl.Diagnostics{d}, input.Sources); err != nil || !strings.Contains(shown.String(), fmt.Sprintf("on %s line %d", file, line)) {
					t.Errorf("%s: shown as %q, %v", task, shown, err)
				}
			}
		})
	}
}

func tlsBlock(lines ...string) string {
	return "worker \"w\" {\n  address = \"tcp://w.lan:1234\"\n  tls {\n    " + strings.Join(lines, "\n    ") + "\n  }\n}\n"
}

func signBlock(line string) string { return "release {\n  sign {\n    " + line + "\n  }\n}\n" }

// tree lists the files of a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}
