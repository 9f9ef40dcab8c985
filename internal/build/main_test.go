package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/inputs"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/worker"
)

func TestMain(m *testing.M) { os.Exit(embeddedtest.Main(m)) }

// files writes name → content below a new directory and returns it.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, content)
	return dir
}

func write(t *testing.T, dir string, content map[string]string) {
	t.Helper()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// withBusybox puts a shell into dir, for images that run steps.
func withBusybox(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(embeddedtest.Busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

var targetBlock = regexp.MustCompile(`(?m)^\s*target "([^"]+)"`)

// builds plans what hcl says and returns the builds, bases first.
func builds(t *testing.T, hcl string) []*plan.Build {
	t.Helper()
	c, diags := config.Load(config.Options{
		Dir: files(t, map[string]string{"targets.hcl": hcl}),
		// As a job of GitHub Actions has it: without, its caches are left out.
		LookupEnv: func(name string) (string, bool) { return "set", strings.HasPrefix(name, "ACTIONS_") },
	})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var all []string // without a default, those that are wanted are named
	for _, m := range targetBlock.FindAllStringSubmatch(hcl, -1) {
		all = append(all, m[1])
	}
	p, diags := plan.New(c, plan.Options{Targets: all})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return p.Builds()
}

// rig is a real BuildKit and a real registry.
type rig struct {
	t      *testing.T
	client *client.Client
	host   string // of the registry
	env    map[string]string
	dir    string
	change func(*Options)
	inputs *inputs.Reader

	output bytes.Buffer // of the last build
}

func newRig(t *testing.T, dir string) *rig {
	t.Helper()
	return rigOn(t, embeddedtest.Worker(t).Address, dir)
}

func rigOn(t *testing.T, address, dir string) *rig {
	t.Helper()
	host := embeddedtest.Registry(t)
	c, err := client.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &rig{t: t, client: c, host: host, env: map[string]string{}, dir: dir, inputs: inputs.NewReader(registryClient(t, host), t.TempDir(), os.Environ())}
}

// registryClient talks to the registry of a test.
func registryClient(t *testing.T, host string) *registry.Client {
	t.Helper()
	c, err := registry.New([]registry.Host{{Name: host, PlainHTTP: true}}, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) options() Options {
	if r.inputs == nil {
		r.inputs = inputs.NewReader(registryClient(r.t, r.host), r.t.TempDir(), os.Environ())
	}
	o := Options{
		Dir: r.dir,
		LookupEnv: func(k string) (string, bool) {
			v, ok := r.env[k]
			return v, ok
		},
		Environ:  os.Environ(),
		Insecure: func(host string) bool { return host == r.host },
		Inputs:   r.inputs,
	}
	if r.change != nil {
		r.change(&o)
	}
	return o
}

// repo is a repository of this test's own.
func (r *rig) repo() string {
	return r.host + "/" + digest.FromString(r.t.Name()).Encoded()[:12]
}

// spec is a target "app" with this body, for linux/amd64 where it does not say.
func (r *rig) spec(body string) string {
	if !strings.Contains(body, "platforms") {
		body += "\nplatforms = [\"linux/amd64\"]"
	}
	return "target \"app\" {\n tags = [\"" + r.repo() + ":1\"]\n" + body + "\n}\n"
}

// try builds all of hcl in turn and returns what the last one gave.
func (r *rig) try(hcl string) (*Result, error) {
	r.t.Helper()
	var last *Result
	done := map[*plan.Build]Base{}
	r.output.Reset()
	d, err := NewDisplay(&r.output, ModePlain)
	if err != nil {
		r.t.Fatal(err)
	}
	defer d.Close()
	for _, b := range builds(r.t, hcl) {
		bases := map[string]Base{}
		for name, need := range b.Needs {
			bases[name] = done[need]
		}
		res, err := r.run(r.t.Context(), b, bases, d)
		if err != nil {
			return nil, err
		}
		done[b] = Base{Repository: b.Repository, Descriptor: res.Descriptor}
		last = res
	}
	return last, nil
}

// run prepares and solves b.
func (r *rig) run(ctx context.Context, b *plan.Build, bases map[string]Base, d *Display) (*Result, error) {
	if err := Prepare(ctx, b, d, r.options()); err != nil {
		return nil, err
	}
	return Solve(ctx, &worker.Worker{Name: "rack", Client: r.client, Host: platforms.DefaultSpec()}, b, bases, d, r.options())
}

// build builds a target with this body and returns its image.
func (r *rig) build(body string) *image {
	r.t.Helper()
	return r.all(r.spec(body))
}

// all builds all of hcl and returns the last image.
func (r *rig) all(hcl string) *image {
	r.t.Helper()
	res, err := r.try(hcl)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.output.String())
	}
	return r.image(res)
}

// refused builds a target with this body and returns the error, whose text
// must contain want.
func (r *rig) refused(body, want string) *Error {
	r.t.Helper()
	res, err := r.try(r.spec(body))
	if err == nil {
		r.t.Fatalf("built %s; want an error with %q\n%s", res.Descriptor.Digest, want, r.output.String())
	}
	var e *Error
	if !errors.As(err, &e) {
		r.t.Fatalf("%T: %v; want a *build.Error", err, err)
	}
	if !strings.Contains(err.Error(), want) {
		r.t.Fatalf("%v; want %q in it", err, want)
	}
	return e
}

// image is what the registry holds of a build.
type image struct {
	t        *testing.T
	ref      string
	result   *Result
	manifest *v1.Manifest
	config   *v1.ConfigFile
	v1       v1.Image
	index    *v1.IndexManifest // where there are attestations

	once sync.Once
	tree map[string]file
}

type file struct {
	text  string
	mtime time.Time
}

func (r *rig) image(res *Result) *image {
	r.t.Helper()
	return r.imageIn(r.repo(), res)
}

func (r *rig) imageIn(repository string, res *Result) *image {
	t := r.t
	t.Helper()
	i := &image{t: t, result: res, ref: repository + "@" + res.Descriptor.Digest.String()}
	ref, err := name.NewDigest(i.ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := ggcr.Get(ref, ggcr.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if string(desc.MediaType) != res.Descriptor.MediaType || desc.Size != res.Descriptor.Size {
		t.Fatalf("the registry has %s of %d bytes, the result says %+v", desc.MediaType, desc.Size, res.Descriptor)
	}
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err != nil {
			t.Fatal(err)
		}
		if i.index, err = index.IndexManifest(); err != nil {
			t.Fatal(err)
		}
		if i.v1, err = index.Image(i.index.Manifests[0].Digest); err != nil {
			t.Fatal(err)
		}
	} else if i.v1, err = desc.Image(); err != nil {
		t.Fatal(err)
	}
	if i.manifest, err = i.v1.Manifest(); err != nil {
		t.Fatal(err)
	}
	if i.config, err = i.v1.ConfigFile(); err != nil {
		t.Fatal(err)
	}
	return i
}

// file returns the content of a file of the image.
func (i *image) file(path string) string {
	i.t.Helper()
	f, ok := i.files()[path]
	if !ok {
		i.t.Fatalf("no %s in the image, only %q", path, i.names())
	}
	return f.text
}

func (i *image) names() []string {
	var out []string
	for path := range i.files() {
		out = append(out, path)
	}
	return out
}

func (i *image) files() map[string]file {
	i.t.Helper()
	i.once.Do(func() {
		i.tree = map[string]file{}
		r := mutate.Extract(i.v1)
		defer func() { _ = r.Close() }()
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				i.t.Fatal(err)
			}
			text, err := io.ReadAll(tr)
			if err != nil {
				i.t.Fatal(err)
			}
			i.tree[strings.TrimSuffix(h.Name, "/")] = file{string(text), h.ModTime}
		}
	})
	return i.tree
}

// epoch2001 is behind the times at which anything here is written.
var epoch2001 = time.Unix(1_000_000_000, 0).UTC()

// run runs a program that must succeed.
func run(t *testing.T, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
}

// await waits until ok, for a bounded time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 20 s", what)
		}
	}
}
