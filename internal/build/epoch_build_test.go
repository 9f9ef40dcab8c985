package build

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
)

func TestEpoch(t *testing.T) {
	t.Parallel()
	clean := files(t, map[string]string{"a": "a", "sub/b": "b"})
	git(t, clean, "init", "-q")
	git(t, clean, "add", "-A")
	git(t, clean, "commit", "-q", "-m", "one")
	changed := filepath.Join(t.TempDir(), "changed")
	git(t, clean, "clone", "-q", ".", changed)
	write(t, changed, map[string]string{"a": "other"})
	untracked := filepath.Join(t.TempDir(), "untracked")
	git(t, clean, "clone", "-q", ".", untracked)
	write(t, untracked, map[string]string{"c": "c"})
	ignored := filepath.Join(t.TempDir(), "ignored")
	git(t, clean, "clone", "-q", ".", ignored)
	write(t, ignored, map[string]string{".archmage/x": "x", ".archmage/.gitignore": "*\n"})
	empty := t.TempDir()
	git(t, empty, "init", "-q")

	at := func(sec int64) *time.Time { t := time.Unix(sec, 0).UTC(); return &t }
	for name, tt := range map[string]struct {
		dir, env string
		want     *time.Time
		err      string
	}{
		"clean":                         {dir: clean, env: "-", want: at(1_000_000_000)},
		"below a clean one":             {dir: filepath.Join(clean, "sub"), env: "-", want: at(1_000_000_000)},
		"a file changed":                {dir: changed, env: "-"},
		"changed elsewhere":             {dir: filepath.Join(changed, "sub"), env: "-"},
		"a file added":                  {dir: untracked, env: "-"},
		"the state of a release":        {dir: ignored, env: "-", want: at(1_000_000_000)},
		"no commit":                     {dir: empty, env: "-"},
		"no git":                        {dir: t.TempDir(), env: "-"},
		"the environment":               {dir: clean, env: "5", want: at(5)},
		"the environment, 1970":         {dir: clean, env: "0", want: at(0)},
		"the environment asks for none": {dir: clean, env: ""},
		"no number":                     {dir: clean, env: "today", err: `"today"`},
		"before 1970":                   {dir: clean, env: "-5", err: `"-5"`},
	} {
		got, err := ReadCheckout(t.Context(), tt.dir).Epoch(func(k string) (string, bool) {
			return tt.env, k == "SOURCE_DATE_EPOCH" && tt.env != "-"
		})
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want %q in it", name, err, tt.err)
		}
		if (got == nil) != (tt.want == nil) || got != nil && !got.Equal(*tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// checkout writes the same files as another checkout at another place, with
// times on either side of the epoch.
func checkout(t *testing.T, times ...time.Time) string {
	t.Helper()
	dir := withBusybox(t, files(t, map[string]string{
		"Dockerfile":    scratch + "COPY a.txt sub /data/\nCOPY --from=more . /more/\nRUN echo made > /made\n",
		"a.txt":         "a",
		"sub/b.txt":     "b",
		"sub/deep/link": "x",
		"more/c.txt":    "c",
	}))
	i := 0
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		i++
		return os.Chtimes(path, times[i%len(times)], times[i%len(times)])
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReproducible(t *testing.T) {
	t.Parallel()
	epoch := epoch2001
	before, after := epoch.Add(-100*time.Hour), epoch.Add(100*time.Hour)
	r := rigOn(t, embeddedtest.NewWorker(t).Address, "")
	r.change = func(o *Options) { o.Epoch = &epoch }
	const body = `contexts = { more = "more" }`
	var first *image
	for i, dir := range []string{
		checkout(t, before), checkout(t, after), checkout(t, epoch), checkout(t, before, after, epoch.Add(time.Nanosecond)),
	} {
		// On a warm cache, then on none.
		for _, cold := range []bool{false, true} {
			if cold {
				r.prune()
			}
			r.dir = dir
			img := r.build(body)
			if first == nil {
				first = img
			}
			if img.result.Descriptor.Digest != first.result.Descriptor.Digest {
				t.Errorf("checkout %d, pruned %t: %s, want %s", i, cold, img.result.Descriptor.Digest, first.result.Descriptor.Digest)
				compare(t, first, img)
			}
		}
	}
	if got := first.config.Created.Time; !got.Equal(epoch) {
		t.Errorf("created %s, want %s", got, epoch)
	}
	for _, h := range first.config.History {
		if !h.Created.Equal(epoch) {
			t.Errorf("history %+v", h)
		}
	}
	for path, f := range first.files() {
		if !f.mtime.Equal(layerEpoch) {
			t.Errorf("%s is of %s", path, f.mtime)
		}
	}
	// A later commit gives another image of the same layers.
	later := epoch.Add(time.Hour)
	r.change = func(o *Options) { o.Epoch = &later }
	img := r.build(body)
	if img.result.Descriptor.Digest == first.result.Descriptor.Digest || !img.config.Created.Equal(later) {
		t.Errorf("%s of %s", img.result.Descriptor.Digest, img.config.Created)
	}
	compare(t, first, img)
	// A target's own wins, and nothing in the image is later.
	for _, own := range []time.Time{epoch, time.Unix(5, 0)} {
		img := r.build(body + "\nargs = { SOURCE_DATE_EPOCH = \"" + strconv.FormatInt(own.Unix(), 10) + "\" }")
		want := layerEpoch
		if own.Before(want) {
			want = own
		}
		if !img.config.Created.Equal(own) || !img.files()["made"].mtime.Equal(want) {
			t.Errorf("created %s, files of %s; want the argument's %s", img.config.Created, img.files()["made"].mtime, own)
		}
	}
	// So does what its output says, of the layers and the configuration.
	img = r.build(body + "\noutput = [\"type=image,source-date-epoch=1000000001\"]")
	if at := epoch.Add(time.Second); !img.config.Created.Equal(at) || !img.files()["made"].mtime.Equal(at) {
		t.Errorf("created %s, files of %s; want the output's %s", img.config.Created, img.files()["made"].mtime, at)
	}
	img = r.build(body + "\noutput = [\"type=image,rewrite-timestamp=false\"]")
	if !img.config.Created.Equal(later) || img.files()["made"].mtime.Before(time.Now().Add(-time.Hour)) {
		t.Errorf("created %s, files of %s; want %s and now", img.config.Created, img.files()["made"].mtime, later)
	}
	// Times of their own for those who ask.
	if img := r.build(body + "\nargs = { SOURCE_DATE_EPOCH = \"\" }"); img.files()["made"].mtime.Before(time.Now().Add(-time.Hour)) {
		t.Errorf("made at %s without an epoch", img.files()["made"].mtime)
	}
}

// compare tells where two images differ.
func compare(t *testing.T, a, b *image) {
	t.Helper()
	for i := range a.manifest.Layers {
		if a.manifest.Layers[i].Digest == b.manifest.Layers[i].Digest {
			continue
		}
		t.Errorf("layer %d:\n%s\n%s", i, listing(t, a, i), listing(t, b, i))
	}
}

func listing(t *testing.T, img *image, layer int) string {
	t.Helper()
	l, err := img.v1.LayerByDigest(img.manifest.Layers[layer].Digest)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var out strings.Builder
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(h.Name + " " + h.ModTime.UTC().Format(time.RFC3339Nano) + " " + h.FileInfo().Mode().String() + "\n")
	}
}
