package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

func sorted(names []string) string {
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestContextDirectory(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{
		"app/Dockerfile":                  "FROM scratch\nCOPY . /\n",
		"app/Other":                       "FROM scratch\nCOPY a.txt /other\n",
		"app/.dockerignore":               "Dockerfile\nOther*\n**/*.log\n.dockerignore\n",
		"app/a.txt":                       "a",
		"app/b.log":                       "b",
		"app/sub/c.log":                   "c",
		"outside/Special":                 "FROM scratch\nCOPY . /\n",
		"outside/Special.dockerignore":    "*\n!b.log\n",
		"lower/dockerfile":                "FROM scratch\nCOPY dockerfile /\n",
		"github.com/acme/app/Dockerfile":  "FROM scratch\nCOPY Dockerfile /local\n",
		"with space/é/Dockerfile.example": "FROM scratch\nCOPY Dockerfile.example /spaced\n",
	})
	r := newRig(t, dir)
	for body, want := range map[string]string{
		`context = "app"`:                                                                  "a.txt sub",
		`context = "cwd://app"`:                                                            "a.txt sub",
		`context = "` + filepath.Join(dir, "app") + `"`:                                    "a.txt sub",
		"context = \"app\"\ndockerfile = \"Other\"":                                        "other",
		"context = \"app\"\ndockerfile = \"../outside/Special\"":                           "b.log",
		"context = \"app\"\ndockerfile = \"" + filepath.Join(dir, "outside/Special") + `"`: "b.log",
		"context = \"app\"\ndockerfile = \"cwd://outside/Special\"":                        "b.log",
		"context = \"app\"\ndockerfile-inline = \"FROM scratch\\nCOPY a.txt /inline\"":     "inline",
		`context = "lower"`:                                                                "dockerfile",
		// It could be a repository, but a directory of that name is there.
		`context = "github.com/acme/app"`:                                 "local",
		"context = \"with space/é\"\ndockerfile = \"Dockerfile.example\"": "spaced",
	} {
		if got := sorted(r.build(body).names()); got != want {
			t.Errorf("%s: the image has %q, want %q", body, got, want)
		}
	}
}

// The daemon keeps the files of a context between solves. Files of one size
// and time in directories of one name are still different files.
func TestContextsOfOneName(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	for _, side := range []string{"left ", "right"} {
		dir := filepath.Join(strings.TrimSpace(side), "app")
		write(t, r.dir, map[string]string{
			dir + "/Dockerfile": "FROM scratch\nCOPY word /\nCOPY --from=more word /more\n",
			dir + "/word":       side,
			dir + "/more/word":  side,
		})
		for _, path := range []string{"word", "more/word", "more", ""} {
			if err := os.Chtimes(filepath.Join(r.dir, dir, path), epoch2001, epoch2001); err != nil {
				t.Fatal(err)
			}
		}
		img := r.build("context = \"" + dir + "\"\ncontexts = { more = \"" + dir + "/more\" }")
		if word, more := img.file("word"), img.file("more"); word != side || more != side {
			t.Errorf("the image of %q says %q and %q", side, word, more)
		}
	}
}

func TestContextTarball(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	zw := gzip.NewWriter(&archive)
	tw := tar.NewWriter(zw)
	for path, text := range map[string]string{"Dockerfile": "FROM scratch\nCOPY a.txt /\n", "Other": "FROM scratch\nCOPY a.txt /other\n", "a.txt": "from an archive"} {
		if err := tw.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/app.tar.gz" {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write(archive.Bytes())
	}))
	defer server.Close()
	r := newRig(t, files(t, map[string]string{"Local": "FROM scratch\nCOPY a.txt /by-local\n"}))
	for body, want := range map[string]string{
		``:                                   "a.txt",
		`dockerfile = "Other"`:               "other",
		`dockerfile = "cwd://Local"`:         "by-local",
		`dockerfile = "` + r.dir + `/Local"`: "by-local",
		`dockerfile-inline = "FROM scratch\nCOPY a.txt /inline"`: "inline",
	} {
		img := r.build("context = \"" + server.URL + "/app.tar.gz\"\n" + body)
		if got := sorted(img.names()); got != want || img.file(want) != "from an archive" {
			t.Errorf("%s: the image has %q, want %q", body, got, want)
		}
	}
	r.refused(`context = "`+server.URL+`/nothing.tar.gz"`, "404")
}

// gitServer serves dir/repo.git, a bare copy of a repository with content, and
// returns its address.
func gitServer(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := files(t, content)
	git(t, dir, "init", "-q", "-b", "main")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "one")
	bare := filepath.Join(t.TempDir(), "app.git")
	git(t, dir, "clone", "-q", "--bare", ".", bare)
	git(t, bare, "update-server-info") // for the protocol that needs no program
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(bare))))
	t.Cleanup(server.Close)
	return server.URL + "/app.git"
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	_, err := exec.LookPath("git")
	embeddedtest.Need(t, err == nil, "git is missing (apt-get install git)")
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_AUTHOR_DATE=@1000000000 +0000", "GIT_COMMITTER_DATE=@1000000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestContextGit(t *testing.T) {
	t.Parallel()
	address := gitServer(t, map[string]string{
		"Dockerfile":     "FROM scratch\nCOPY a.txt /\n",
		"a.txt":          "from git",
		"sub/Dockerfile": "FROM scratch\nCOPY b.txt /\n",
		"sub/b.txt":      "below",
	})
	r := newRig(t, t.TempDir())
	r.change = func(o *Options) { at := epoch2001; o.Epoch = &at }
	if got := r.build(`context = "` + address + `"`).file("a.txt"); got != "from git" {
		t.Errorf("%q", got)
	}
	if got := r.build(`context = "` + address + `#main:sub"`).file("b.txt"); got != "below" {
		t.Errorf("%q", got)
	}
	img := r.build("context = \"" + address + "\"\ncontexts = { lib = \"" + address + "#main:sub\" }\ndockerfile-inline = \"FROM scratch\\nCOPY --from=lib b.txt /\"")
	if got := img.file("b.txt"); got != "below" {
		t.Errorf("%q", got)
	}
	r.refused(`context = "`+address+`#nowhere"`, "nowhere")
}

func TestNamedContexts(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{
		"Dockerfile":        "FROM scratch\nCOPY --from=lib / /\n",
		"lib/a.txt":         "from a directory",
		"lib/b.log":         "left out",
		"lib/.dockerignore": "*.log\n.dockerignore\n",
		"Base":              "FROM scratch\nLABEL base=yes\nCOPY lib/a.txt /base.txt\n",
		"FromLib":           "FROM lib\nCOPY lib/a.txt /\n",
		"FromImage":         "FROM example.org/acme/base:1\nCOPY lib/a.txt /\n",
		"FromShort":         "FROM alpine\nCOPY lib/a.txt /\n",
	}))
	if got := sorted(r.build(`contexts = { lib = "lib" }`).names()); got != "a.txt" {
		t.Errorf("a directory: the image has %q", got)
	}

	base := r.build(`dockerfile = "Base"`)
	tag, err := name.NewTag(r.repo()+":base", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := ggcr.Write(tag, base.v1); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(r.dir, "layout")
	store, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.AppendImage(base.v1, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "one"})); err != nil {
		t.Fatal(err)
	}
	digest := base.result.Descriptor.Digest.String()
	for _, body := range []string{
		"dockerfile = \"FromLib\"\ncontexts = { lib = \"docker-image://" + tag.String() + `" }`,
		"dockerfile = \"FromLib\"\ncontexts = { lib = \"docker-image://" + r.repo() + "@" + digest + `" }`,
		"dockerfile = \"FromLib\"\ncontexts = { lib = \"oci-layout://layout:one\" }",
		"dockerfile = \"FromLib\"\ncontexts = { lib = \"oci-layout://layout\" }",
		"dockerfile = \"FromLib\"\ncontexts = { lib = \"oci-layout://" + dir + "@" + digest + `" }`,
		// An image of the Dockerfile is replaced, under any of its names.
		"dockerfile = \"FromImage\"\ncontexts = { \"example.org/acme/base:1\" = \"docker-image://" + tag.String() + `" }`,
		"dockerfile = \"FromShort\"\ncontexts = { \"docker.io/library/alpine:latest\" = \"docker-image://" + tag.String() + `" }`,
		"dockerfile = \"FromShort\"\ncontexts = { \"alpine:latest\" = \"oci-layout://layout:one\" }",
	} {
		img := r.build(body)
		if got := sorted(img.names()); got != "a.txt base.txt" || img.config.Config.Labels["base"] != "yes" {
			t.Errorf("%s: the image has %q, labels %v", body, got, img.config.Config.Labels)
		}
	}
	r.refused("dockerfile = \"FromLib\"\ncontexts = { lib = \"oci-layout://layout:two\" }", `no image "two"`)
}

func TestTargetContexts(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{
		"Base": "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY Base /base\n",
		"App":  "FROM base\nCOPY App /app\n",
	}))
	hcl := func(basePlatforms, attest string) string {
		return `
target "base" {
  dockerfile = "Base"
  platforms  = [` + basePlatforms + `]
  attest     = [` + attest + `]
}
target "app" {
  dockerfile = "App"
  contexts   = { base = "target:base" }
  platforms  = ["linux/arm64"]
  tags       = ["` + r.repo() + `:1"]
}
group "default" { targets = ["app"] }
`
	}
	const both, one = `"linux/amd64", "linux/arm64"`, `"linux/amd64"`
	for _, tt := range []struct{ platforms, attest, want string }{
		{both, ``, "arm64"},
		{both, `"type=provenance"`, "arm64"},
		{one, ``, "amd64"}, // the only one serves all, as in bake
	} {
		img := r.all(hcl(tt.platforms, tt.attest))
		if got := sorted(img.names()); got != "app base" || img.config.Config.Labels["arch"] != tt.want || img.config.Architecture != "arm64" {
			t.Errorf("%+v: %q, base for %s, image for %s", tt, got, img.config.Config.Labels["arch"], img.config.Architecture)
		}
	}
	if _, err := r.try(hcl(one, `"type=provenance"`)); err == nil || !strings.Contains(err.Error(), "attest") {
		t.Errorf("a base of another platform in an index: %v", err)
	}
}

func TestSSH(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"ssh-agent", "ssh-keygen", "ssh-add"} {
		_, err := exec.LookPath(program)
		embeddedtest.Need(t, err == nil, program+" is missing (apt-get install openssh-client)")
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rack", "-f", key)
	// A socket's path must be short.
	short, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	socket := filepath.Join(short, "s")
	agent := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
	await(t, "ssh-agent", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	run(t, []string{"SSH_AUTH_SOCK=" + socket}, "ssh-add", "-q", key)
	line, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	public, err := base64.StdEncoding.DecodeString(strings.Fields(string(line))[1])
	if err != nil {
		t.Fatal(err)
	}

	// SSH_AGENTC_REQUEST_IDENTITIES (RFC draft-miller-ssh-agent, 3.5); the
	// answer holds the key as it stands, in binary, in the .pub file.
	const program = `package main

import (
	"io"
	"net"
	"os"
)

func main() {
	c, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		panic(err)
	}
	size := make([]byte, 4)
	if _, err = c.Write([]byte{0, 0, 0, 1, 11}); err == nil {
		_, err = io.ReadFull(c, size)
	}
	answer := make([]byte, int(size[2])<<8|int(size[3]))
	if err == nil {
		_, err = io.ReadFull(c, answer)
	}
	if err == nil {
		err = os.WriteFile("/answer", answer, 0o644)
	}
	if err != nil {
		panic(err)
	}
}
`
	ask := files(t, map[string]string{
		"main.go":    program,
		"Dockerfile": "FROM scratch\nARG ID\nCOPY ask /\nRUN --mount=type=ssh,id=${ID} [\"/ask\"]\n",
	})
	run(t, []string{"CGO_ENABLED=0"}, "go", "build", "-o", filepath.Join(ask, "ask"), filepath.Join(ask, "main.go"))
	r := newRig(t, ask)
	for name, tt := range map[string]struct {
		id, body string
		env      map[string]string
	}{
		"the agent of the environment": {"default", `ssh = ["default"]`, map[string]string{"SSH_AUTH_SOCK": socket}},
		"a socket":                     {"deploy", `ssh = ["deploy=` + socket + `"]`, nil},
		"a key":                        {"deploy", `ssh = [{ id = "deploy", paths = ["` + key + `"] }]`, nil},
	} {
		r.env = tt.env
		answer := r.build("args = { ID = \"" + tt.id + "\" }\nno-cache = true\n" + tt.body).file("answer")
		if !bytes.Contains([]byte(answer), public) {
			t.Errorf("%s: the step got %q; want the key %q in it", name, answer, public)
		}
	}
	r.env = map[string]string{}
	r.refused("args = { ID = \"default\" }\nno-cache = true", "ssh")
}
