package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/plan"
)

var everyTarget = flag.Bool("every-target", false, "build all targets and platforms of TestOneCommitOneDigest")

type reproducible struct{ body, dockerfile string }

// reproducibles are the targets of TestOneCommitOneDigest. RUN steps set the
// clock of the worker, as far as times in layers go: secrets are no part of
// BuildKit's cache.
func reproducibles(image string) map[string]reproducible {
	const (
		secret = "secret = [\"type=env,id=clock,env=CLOCK\"]\n"
		clock  = "RUN --mount=type=secret,id=clock,env=CLOCK "
	)
	shell := strings.TrimPrefix(scratch, "FROM scratch\n")
	return map[string]reproducible{
		"files":   {"", "FROM scratch\nCOPY unchanged /unchanged\nCOPY version sub /app/\nCOPY . /all/\n"},
		"link":    {"", "FROM scratch\nCOPY --link unchanged /a/\nCOPY --link version /b/\nCOPY --link --chmod=755 sub /c/\n"},
		"archive": {`output = ["type=image,compression=zstd"]`, "FROM scratch\nADD old.tar.gz /old/\nADD version /\n"},
		"image":   {"", "FROM " + image + "\nWORKDIR /below/app\nCOPY unchanged /below/\nCOPY version .\nLABEL a=b\n"},
		"told":    {"", scratch + "ARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /epoch\nCOPY <<there /here\ntext\nthere\nCOPY version /\n"},
		"run": {secret, scratch + "WORKDIR /srv/app\n" + clock + "echo made > made; mkdir -p x/y; touch -d @$CLOCK made x x/y\n" +
			"COPY version .\n" + clock + "echo more >> made; touch -d @$CLOCK made; chmod 600 version\n"},
		"stages": {secret + `contexts = { more = "more" }`, "FROM scratch AS build\n" + shell + "COPY unchanged sub /src/\n" +
			clock + "mkdir /out; cat /src/b.txt > /out/all; touch -d @$CLOCK /out/all\n" +
			"FROM scratch\nCOPY --from=build /out /out\nCOPY --from=more c.txt /more/\nCOPY version /\n"},
		"base": {secret + `contexts = { below = "target:run" }`, "FROM below\nCOPY unchanged /\n" + clock + "echo z > /z; touch -d @$CLOCK /z\nCOPY version /above\n"},
	}
}

// everyPlatform and someTargets are built in full, and in short.
var everyPlatform = []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"}

// baseImage pushes an image with times of its own, which nobody may change.
func baseImage(t *testing.T, host string) (string, v1.Image) {
	t.Helper()
	at := time.Date(2023, 3, 4, 5, 6, 7, 0, time.UTC)
	text := archive(t, at, "below/file", "etc/passwd")
	layer, err := tarball.LayerFromOpener(text)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: at}, CreatedBy: "another"}})
	if err == nil {
		img, err = mutate.CreatedAt(img, v1.Time{Time: at})
	}
	if err == nil {
		var config *v1.ConfigFile
		config, err = img.ConfigFile()
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", "amd64"
		img, err = mutate.ConfigFile(img, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	ref := host + "/" + digest.FromString(t.Name()).Encoded()[:12] + "-below:1"
	to, err := name.ParseReference(ref, name.Insecure)
	if err == nil {
		err = ggcr.Write(to, img, ggcr.WithContext(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref, img
}

// archive is a .tar.gz with these files, which have a time of their own.
func archive(t *testing.T, at time.Time, names ...string) tarball.Opener {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Size: 1, ModTime: at}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
}

// environment is where and how a commit is built once more.
type environment struct {
	name    string
	umask   string
	address string
	noCache bool
	clock   time.Time // of the worker's steps
	touch   time.Time // what all files of the clone are of
}

func TestOneCommitOneDigest(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: real daemons take a while")
	}
	host := embeddedtest.Registry(t)
	base, below := baseImage(t, host)
	targets, platforms := reproducibles(base), everyPlatform
	if !*everyTarget {
		platforms = platforms[:2]
		maps.DeleteFunc(targets, func(name string, _ reproducible) bool { return name != "run" && name != "stages" })
	}

	// The commit that is built, one before it with other times, and one behind
	// it that changes nothing which is built.
	origin := withBusybox(t, files(t, map[string]string{
		"unchanged": "u", "version": "1", "sub/b.txt": "b", "sub/deep/link": "x", "more/c.txt": "c", "README": "1",
		".dockerignore": ".git\n", // of which every clone has its own
	}))
	if err := os.Symlink("b.txt", filepath.Join(origin, "sub/symlink")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(origin, "sub/deep/link"), 0o755); err != nil {
		t.Fatal(err)
	}
	hcl := ""
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		write(t, origin, map[string]string{name + ".Dockerfile": targets[name].dockerfile})
		hcl += fmt.Sprintf("target %q {\n dockerfile = \"%s.Dockerfile\"\n tags = [\"%s/%s-%s:1\"]\n platforms = [\"%s\"]\n%s\n}\n",
			name, name, host, digest.FromString(t.Name()).Encoded()[:12], name, strings.Join(platforms, `", "`), targets[name].body)
	}
	text, err := archive(t, time.Date(2005, 1, 2, 3, 4, 5, 0, time.UTC), "a/b", "c")()
	if err != nil {
		t.Fatal(err)
	}
	old, err := io.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	write(t, origin, map[string]string{"old.tar.gz": string(old)})
	git(t, origin, "init", "-q")
	commit := func(at int64) string {
		git(t, origin, "add", "-A")
		run(t, []string{"GIT_COMMITTER_DATE=@" + strconv.FormatInt(at, 10) + " +0000"},
			"git", "-C", origin, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "at "+strconv.FormatInt(at, 10))
		return git(t, origin, "rev-parse", "HEAD")
	}
	first := commit(1_600_000_000)
	write(t, origin, map[string]string{"version": "2"})
	second := commit(1_700_000_000)

	build := func(commit string, e environment) map[string]*image {
		dir := filepath.Join(t.TempDir(), "clone")
		run(t, nil, "sh", "-c", "umask "+e.umask+"; git clone -q '"+origin+"' '"+dir+"' && git -C '"+dir+"' checkout -q "+commit)
		if !e.touch.IsZero() {
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.Type()&fs.ModeSymlink != 0 {
					return err
				}
				return os.Chtimes(path, e.touch, e.touch)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		r := rigOn(t, e.address, dir)
		r.env["CLOCK"] = strconv.FormatInt(e.clock.Unix(), 10)
		checkout := ReadCheckout(t.Context(), dir)
		if checkout.Commit != commit || checkout.Dirty {
			t.Fatalf("%s: commit %s, dirty %t", e.name, checkout.Commit, checkout.Dirty)
		}
		r.change = func(o *Options) { o.Epoch, o.Checkout = &checkout.Time, checkout }
		return r.each(hcl, e.noCache)
	}
	now := time.Now()
	warm, other := embeddedtest.NewWorker(t).Address, embeddedtest.NewWorker(t).Address
	before := build(first, environment{name: "the commit before", umask: "022", address: warm, clock: now.Add(-1000 * time.Hour)})
	want := build(second, environment{name: "warm", umask: "022", address: warm, clock: now})
	var repeated map[string]*image
	for _, e := range []environment{
		{name: "another clone", umask: "022", address: warm, clock: now.Add(time.Hour)},
		{name: "another umask", umask: "077", address: warm, clock: now},
		{name: "another worker", umask: "022", address: other, clock: now},
		{name: "without cache", umask: "002", address: warm, clock: now, noCache: true},
		{name: "a year ahead", umask: "022", address: other, clock: now.AddDate(1, 0, 0), touch: now.AddDate(1, 0, 0), noCache: true},
		{name: "in 1970", umask: "000", address: warm, clock: now, touch: time.Unix(0, 0)},
	} {
		got := build(second, e)
		equal := 0
		for id, img := range want {
			if got[id].result.Descriptor.Digest == img.result.Descriptor.Digest {
				equal++
				continue
			}
			t.Errorf("%s, %s: %s, want %s", e.name, id, got[id].result.Descriptor.Digest, img.result.Descriptor.Digest)
			compare(t, img, got[id])
		}
		t.Logf("%s: %d of %d digests equal", e.name, equal, len(want))
		repeated = got
	}
	for id, img := range want {
		if before[id].result.Descriptor.Digest == img.result.Descriptor.Digest {
			t.Errorf("%s: the commit before has the same digest", id)
		}
		if !img.config.Created.Equal(time.Unix(1_700_000_000, 0)) {
			t.Errorf("%s was created %s, want the commit's time", id, img.config.Created)
		}
	}
	if img := want["image linux/amd64"]; img != nil {
		layers, err := below.Layers()
		if err != nil {
			t.Fatal(err)
		}
		d, err := layers[0].Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got := img.config.History[0]; got.CreatedBy != "another" || got.Created.Year() != 2023 || img.manifest.Layers[0].Digest != d {
			t.Errorf("the base image changed: %s, %+v", img.manifest.Layers[0].Digest, got)
		}
	}
	if img := want["told linux/amd64"]; img != nil && img.file("epoch") != "1700000000\n" {
		t.Errorf("a step was told %q", img.file("epoch"))
	}

	// A commit that changes nothing of them gives images of the same layers.
	write(t, origin, map[string]string{"README": "2"})
	third := commit(1_750_000_000)
	aside := build(third, environment{name: "a commit aside", umask: "022", address: warm, clock: now})
	cold := build(third, environment{name: "a commit aside, without cache", umask: "022", address: other, clock: now, noCache: true})
	for id, img := range aside {
		if d := cold[id].result.Descriptor.Digest; d != img.result.Descriptor.Digest {
			t.Errorf("%s: %s warm, %s without cache", id, img.result.Descriptor.Digest, d)
			compare(t, img, cold[id])
		}
		same := slices.EqualFunc(img.manifest.Layers, want[id].manifest.Layers, func(a, b v1.Descriptor) bool { return a.Digest == b.Digest })
		if name, _, _ := strings.Cut(id, " "); !same && name != "files" && name != "told" {
			t.Errorf("%s has other layers after a commit that changes nothing of it", id)
		} else if same && img.result.Cached != repeated[id].result.Cached {
			t.Errorf("%s: %d of %d steps cached after a commit that changes nothing of it, %d without one", id, img.result.Cached, img.result.Steps, repeated[id].result.Cached)
		}
	}
}

// each builds all of hcl and returns the images, by target and platform.
func (r *rig) each(hcl string, noCache bool) map[string]*image {
	r.t.Helper()
	d, err := NewDisplay(&r.output, ModePlain)
	if err != nil {
		r.t.Fatal(err)
	}
	defer d.Close()
	out, done := map[string]*image{}, map[*plan.Build]Base{}
	for _, b := range builds(r.t, hcl) {
		bases := map[string]Base{}
		for name, need := range b.Needs {
			bases[name] = done[need]
		}
		b.Spec.NoCache = &noCache
		res, err := r.run(r.t.Context(), b, bases, d)
		if err != nil {
			r.t.Fatalf("%v\n%s", err, r.output.String())
		}
		done[b] = Base{Repository: b.Repository, Descriptor: res.Descriptor}
		out[b.ID()] = r.imageIn(b.Repository, res)
	}
	return out
}
