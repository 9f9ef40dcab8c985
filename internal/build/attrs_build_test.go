package build

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// scratch is the head of a Dockerfile whose steps have a shell.
const scratch = `FROM scratch
COPY busybox /busybox
SHELL ["/busybox", "sh", "-c"]
`

// shell returns a rig whose context has a busybox and this Dockerfile behind
// the scratch head.
func shell(t *testing.T, dockerfile string) *rig {
	t.Helper()
	return newRig(t, withBusybox(t, files(t, map[string]string{"Dockerfile": scratch + dockerfile})))
}

func TestConfigAttributes(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch AS other\nLABEL stage=other\nFROM scratch\nLABEL stage=last\n"}))
	first := r.build(`
		target = "other"
		labels = { size = "big", stage = "said" }
		annotations = ["org.example.a=1", "manifest[linux/amd64]:org.example.b=2", "manifest[linux/arm64]:org.example.c=3", "index:org.example.d=4"]
	`)
	if got := first.config.Config.Labels; len(got) != 2 || got["stage"] != "said" || got["size"] != "big" {
		t.Errorf("labels %v", got)
	}
	if got := first.manifest.Annotations; len(got) != 2 || got["org.example.a"] != "1" || got["org.example.b"] != "2" {
		t.Errorf("annotations %v, want a and b", got)
	}
	if got := first.manifest.MediaType; got != types.OCIManifestSchema1 {
		t.Errorf("media type %s", got)
	}

	img := shell(t, "ARG COLOUR=grey SHAPE=round SIZE=big\nRUN echo $COLOUR $SHAPE $SIZE. > /args\n").
		build(`args = { COLOUR = "red", SHAPE = null, SIZE = "" }`)
	if got := img.file("args"); got != "red round .\n" {
		t.Errorf("args %q; want one set, one unset and one empty", got)
	}
}

func TestDockerMediaTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	r.change = func(o *Options) { o.DockerMediaTypes = true }
	if got := r.build("").manifest.MediaType; got != types.DockerManifestSchema2 {
		t.Errorf("media type %s", got)
	}
	r.refused(`output = ["type=image,oci-mediatypes=true"]`, "media_types")
	r.refused(`output = ["type=image,compression=estargz"]`, "conflicts with")
}

func TestOutputOptions(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	// It is the same whatever the worker has kept.
	if got := r.build("").manifest.Layers[0].MediaType; got != types.OCILayer {
		t.Errorf("layer %s", got)
	}
	img := r.build(`output = ["type=registry,compression=zstd,compression-level=7"]`)
	if got := img.manifest.Layers[0].MediaType; got != types.OCILayerZStd {
		t.Errorf("layer %s", got)
	}
	r.refused(`output = ["type=image,oci-mediatypes=false"]`, "media_types")
	r.refused(`output = ["type=image,compression=zstd", "type=registry,compression=gzip"]`, "one image")
}

// The tags of a repository are for promote alone.
func TestNoTagMoves(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	r.build("")
	repo, err := name.NewRepository(r.repo(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if tags, err := ggcr.List(repo); err == nil && len(tags) > 0 {
		t.Errorf("tags %q after a build", tags)
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nARG TARGETPLATFORM TARGETVARIANT\nLABEL is=$TARGETPLATFORM variant=$TARGETVARIANT\nCOPY Dockerfile /\n"}))
	for platform, want := range map[string]v1.Platform{
		"linux/amd64":   {OS: "linux", Architecture: "amd64"},
		"linux/arm/v6":  {OS: "linux", Architecture: "arm", Variant: "v6"},
		"linux/arm":     {OS: "linux", Architecture: "arm", Variant: "v7"},
		"linux/riscv64": {OS: "linux", Architecture: "riscv64"},
	} {
		img := r.build(`platforms = ["` + platform + `"]`)
		c := img.config
		if got := (v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}); !got.Equals(want) {
			t.Errorf("%s: image for %s", platform, got)
		}
		if c.Config.Labels["variant"] != want.Variant || c.Config.Labels["is"] != want.String() {
			t.Errorf("%s: arguments %v", platform, c.Config.Labels)
		}
	}
}

func TestStepLimits(t *testing.T) {
	t.Parallel()
	r := shell(t, `
RUN /busybox ip -o link > /links 2>&1; /busybox true
RUN /busybox cat /etc/hosts > /hosts
RUN /busybox df -k /dev/shm > /shm
RUN ulimit -n > /nofile; ulimit -Hn >> /nofile
`)
	img := r.build(`
		network     = "none"
		extra-hosts = { one = "192.0.2.1", six = "[2001:db8::6]", two = "192.0.2.2,192.0.2.3" }
		shm-size    = "20m"
		ulimits     = ["nofile=123:456"]
	`)
	links := strings.Split(strings.TrimSpace(img.file("links")), "\n")
	if len(links) != 1 || !strings.Contains(links[0], "lo:") {
		t.Errorf("network none shows the interfaces %q", links)
	}
	for _, want := range []string{"192.0.2.1\tone", "2001:db8::6\tsix", "192.0.2.2\ttwo", "192.0.2.3\ttwo"} {
		if !strings.Contains(img.file("hosts"), want) {
			t.Errorf("no %q in /etc/hosts:\n%s", want, img.file("hosts"))
		}
	}
	if !strings.Contains(img.file("shm"), " 20480 ") {
		t.Errorf("/dev/shm is\n%s", img.file("shm"))
	}
	if got := img.file("nofile"); got != "123\n456\n" {
		t.Errorf("ulimit -n is %q", got)
	}
}

func TestNetworkHost(t *testing.T) {
	t.Parallel()
	// The registry listens on this machine's loopback: only a step on its
	// network reaches it.
	r := shell(t, "ARG AT\nRUN /busybox wget -q -O /answer http://$AT/v2/ && echo reached > /reached\n")
	if got := r.build(`
		network = "host"
		args    = { AT = "` + r.host + `" }
	`).file("reached"); got != "reached\n" {
		t.Errorf("%q", got)
	}

	e := shell(t, "RUN --security=insecure echo > /x\n").refused(`entitlements = ["security.insecure"]`, "security.insecure")
	if !strings.Contains(e.Hint, "allow-insecure-entitlement") {
		t.Errorf("hint %q", e.Hint)
	}
	// Without the entitlement even a Dockerfile cannot ask for it.
	shell(t, "RUN --network=host echo > /x\n").refused("", "network.host is not allowed")
	if got := shell(t, "RUN --network=host echo yes > /x\n").build(`entitlements = ["network.host"]`).file("x"); got != "yes\n" {
		t.Errorf("%q", got)
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("a rootless worker has no control groups of its own to set limits in")
	}
	img := shell(t, "RUN /busybox cat /sys/fs/cgroup/memory.max > /memory || /busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes > /memory\n").
		build(`resources = { memory = "64m" }`)
	if got := img.file("memory"); got != "67108864\n" {
		t.Errorf("a step's memory is %q", got)
	}
}

func TestAttest(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nARG COLOUR\nCOPY Dockerfile /\n"}))
	for mode, want := range map[string]bool{"min": false, "max": true} {
		img := r.build(`
			args = { COLOUR = "red" }
			attest = ["type=provenance,mode=` + mode + `"]
		`)
		if img.index == nil || len(img.index.Manifests) != 2 {
			t.Fatalf("mode=%s: %s, index %+v; want an image and its attestation", mode, img.result.Descriptor.MediaType, img.index)
		}
		child, att := img.index.Manifests[0], img.index.Manifests[1]
		if child.Platform.String() != "linux/amd64" || att.Annotations["vnd.docker.reference.digest"] != child.Digest.String() {
			t.Errorf("mode=%s: %+v", mode, img.index.Manifests)
		}
		statement := r.blob(att.Digest)
		if got := strings.Contains(statement, `"build-arg:COLOUR"`); got != want {
			t.Errorf("mode=%s: arguments told: %t, want %t\n%s", mode, got, want, statement)
		}
	}
	for _, none := range []string{``, `attest = ["type=provenance,disabled=true"]`} {
		if img := r.build(none); img.index != nil {
			t.Errorf("%q: %+v", none, img.index)
		}
	}
	r.refused(`attest = ["type=horoscope"]`, "horoscope")
	r.change = func(o *Options) { o.Strip = true }
	if img := r.build(`attest = ["type=provenance"]`); img.index != nil {
		t.Errorf("stripped: %+v", img.index)
	}
}

// blob returns the only layer of a manifest.
func (r *rig) blob(manifest v1.Hash) string {
	r.t.Helper()
	get := func(path string) []byte {
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.host+"/v2/"+strings.TrimPrefix(r.repo(), r.host+"/")+path, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		req.Header.Set("Accept", string(types.OCIManifestSchema1))
		// Not the default client: a test server that closes ends its connections.
		resp, err := new(http.Transport).RoundTrip(req)
		if err != nil {
			r.t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			r.t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		return data
	}
	var m v1.Manifest
	if err := json.Unmarshal(get("/manifests/"+manifest.String()), &m); err != nil {
		r.t.Fatal(err)
	}
	return string(get("/blobs/" + m.Layers[0].Digest.String()))
}

func TestRefusedByName(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`shm-size = "much"`:                                     `shm-size "much"`,
		`cache-from = ["type=local"]`:                           "src is missing",
		`ulimits = ["nofile"]`:                                  `ulimit "nofile"`,
		`extra-hosts = { a = "host-gateway" }`:                  "host-gateway",
		`extra-hosts = { a = "nowhere" }`:                       `"nowhere"`,
		`resources = { memory = "much" }`:                       `"much"`,
		`secret = [{ id = "a", env = "NOT_SET" }]`:              "NOT_SET",
		`secret = ["id=a,src=not-there"]`:                       "not-there",
		`secret = ["src=Dockerfile"]`:                           "no id",
		`ssh = ["default=not-there"]`:                           "not-there",
		`contexts = { base = "not-there" }`:                     "not-there",
		`contexts = { base = "oci-layout://not-there" }`:        "not-there",
		`contexts = { Base = "." }`:                             `"Base"`,
		`contexts = { a = ".", "a:latest" = "." }`:              `"a:latest"`,
		`context = "not-there"`:                                 "not-there",
		`context = "Dockerfile"`:                                "no directory",
		`dockerfile = "not-there"`:                              "not-there",
		`args = { SOURCE_DATE_EPOCH = "yesterday" }`:            "yesterday",
		`output = ["type=image,oci-mediatypes=false"]`:          "oci-mediatypes",
		`entitlements = ["security.sorcery"]`:                   "security.sorcery",
		`target = "nowhere"`:                                    "nowhere",
		`cache-to = ["type=fridge"]`:                            "fridge",
		`cache-from = ["type=fridge"]`:                          "fridge",
		`cache-to = ["type=registry"]`:                          "ref",
		`cache-to = ["type=local,mode=max"]`:                    "dest",
		`args = { BUILDKIT_SYNTAX = "127.0.0.1:1/frontend:1" }`: "127.0.0.1:1/frontend:1",
	} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
			e := r.refused(body, want)
			if e.Hint == "" {
				t.Errorf("no word on what to do about: %v", e)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	r := shell(t, `
RUN --mount=type=secret,id=file,target=/file --mount=type=secret,id=env,target=/env \
    --mount=type=secret,id=IMPLIED,target=/implied --mount=type=secret,id=beside.txt,target=/beside \
    /busybox sha256sum /file /env /implied /beside > /sums
RUN --mount=type=secret,id=env,env=AS_ENV echo ${#AS_ENV} > /length
`)
	write(t, r.dir, map[string]string{"my/secret": "from a file", "beside.txt": "beside", ".dockerignore": "my\nbeside.txt\n"})
	r.env = map[string]string{"TOKEN": "from the environment", "IMPLIED": "implied"}
	img := r.build(`secret = ["id=file,src=my/secret", { id = "env", env = "TOKEN" }, "type=env,id=IMPLIED", "id=beside.txt"]`)
	sums := img.file("sums")
	for _, want := range []string{
		sha("from a file") + "  /file", sha("from the environment") + "  /env", sha("implied") + "  /implied", sha("beside") + "  /beside",
	} {
		if !strings.Contains(sums, want) {
			t.Errorf("no %q in:\n%s", want, sums)
		}
	}
	if got := img.file("length"); got != "20\n" {
		t.Errorf("the secret as a variable has %q characters", got)
	}
	for path, f := range img.files() {
		if strings.Contains(f.text, "from the environment") || strings.Contains(f.text, "from a file") {
			t.Errorf("%s holds a secret", path)
		}
	}
	if raw, err := img.v1.RawConfigFile(); err != nil || strings.Contains(string(raw), "from the environment") {
		t.Errorf("the config holds a secret, or %v", err)
	}

	e := shell(t, "RUN --mount=type=secret,id=missing,required=true /busybox true\n").refused("", "missing")
	if e.Step == "" {
		t.Errorf("no step in %v", e)
	}
}

func TestPull(t *testing.T) {
	t.Parallel()
	r := newRig(t, files(t, map[string]string{
		"Dockerfile":      "ARG BASE\nFROM $BASE\nCOPY Dockerfile /\n",
		"Dockerfile.base": "FROM scratch\nARG WORD\nLABEL word=$WORD\nCOPY Dockerfile /\n",
	}))
	base := func(word string) {
		img := r.build(`
			dockerfile = "Dockerfile.base"
			args = { WORD = "` + word + `" }
		`)
		tag, err := name.NewTag(r.repo()+":base", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := ggcr.Write(tag, img.v1); err != nil {
			t.Fatal(err)
		}
	}
	word := func(pull string) string {
		img := r.build("args = { BASE = \"" + r.repo() + ":base\" }\n" + pull)
		return img.config.Config.Labels["word"]
	}
	base("first")
	if got := word(""); got != "first" {
		t.Fatal(got)
	}
	base("second")
	if got := word("pull = true"); got != "second" {
		t.Errorf("with pull the base is the %s", got)
	}
	attrs, err := attrs(builds(t, r.spec("pull = true"))[0], r.options())
	if err != nil || attrs["image-resolve-mode"] != "pull" {
		t.Errorf("%v, %v", attrs, err)
	}
}

func TestNoCache(t *testing.T) {
	t.Parallel()
	r := newRig(t, withBusybox(t, files(t, map[string]string{"Dockerfile": strings.Replace(scratch, "scratch", "scratch AS one", 1) + `
RUN /busybox cat /proc/sys/kernel/random/uuid > /stage1
FROM scratch AS two
COPY busybox /busybox
SHELL ["/busybox", "sh", "-c"]
RUN /busybox cat /proc/sys/kernel/random/uuid > /stage2
FROM scratch
COPY --from=one /stage1 /
COPY --from=two /stage2 /
`})))
	run := func(body string) []string {
		img := r.build(body)
		return []string{img.file("stage1"), img.file("stage2")}
	}
	first := run("")
	if again := run(""); !slices.Equal(again, first) {
		t.Errorf("%q, then %q; want it from the cache", first, again)
	}
	if two := run(`no-cache-filter = ["two"]`); two[0] != first[0] || two[1] == first[1] {
		t.Errorf("%q, then %q; want stage two anew", first, two)
	}
	if both := run(`no-cache = true`); both[0] == first[0] || both[1] == first[1] {
		t.Errorf("%q, then %q; want both anew", first, both)
	}
}

func sha(text string) string {
	return digest.FromString(text).Encoded()
}
