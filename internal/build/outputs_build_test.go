package build

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"

	"github.com/archmage-build/archmage/internal/plan"
)

const filesDockerfile = `
FROM scratch AS all
ARG TARGETARCH
COPY only-${TARGETARCH} /bin/only
COPY tree /tree
FROM scratch AS apart
ARG TARGETARCH
COPY only-${TARGETARCH} /only-${TARGETARCH}
`

// outputProject has files, empty directories and links of all kinds.
func outputProject(t *testing.T) string {
	t.Helper()
	dir := files(t, map[string]string{
		"Dockerfile": filesDockerfile, "only-amd64": "for amd64", "only-arm64": "for arm64, which is longer",
		"tree/" + strings.Repeat("long-", 25) + "name": "a name that a plain tar header does not hold",
		"tree/run": "#!/bin/sh\n",
	})
	for link, to := range map[string]string{"tree/relative": "run", "tree/absolute": "/tree/run", "tree/nowhere": "gone"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tree/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tree/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// outputs makes all builds of hcl and delivers what they wrote.
func (r *rig) outputs(hcl string) error {
	r.t.Helper()
	d, err := NewDisplay(io.Discard, ModePlain)
	if err != nil {
		r.t.Fatal(err)
	}
	defer d.Close()
	all := builds(r.t, hcl)
	done := map[*plan.Build]Base{}
	targets := map[*plan.Target]bool{}
	for _, b := range all {
		bases := map[string]Base{}
		for name, need := range b.Needs {
			bases[name] = done[need]
		}
		res, err := r.run(r.t.Context(), b, bases, d)
		if err != nil {
			return err
		}
		done[b] = res.Base(b)
		targets[b.Target] = true
	}
	for t := range targets {
		if err := Deliver(t, func(*plan.Build) bool { return true }, r.options()); err != nil {
			return err
		}
	}
	return nil
}

// atOnce has BuildKit build all platforms in one solve, as bake asks for it, and
// write its export to dir.
func (r *rig) atOnce(hcl string, export client.ExportEntry) {
	r.t.Helper()
	all := builds(r.t, hcl)
	o := r.options()
	opt, err := solveOpt(all[0], nil, o)
	if err != nil {
		r.t.Fatal(err)
	}
	var platforms []string
	for _, b := range all {
		platforms = append(platforms, b.PlatformName())
	}
	opt.FrontendAttrs["platform"] = strings.Join(platforms, ",")
	opt.Exports = []client.ExportEntry{export}
	if _, _, err := solve(r.t.Context(), r.client, *opt, created(all[0], o), nil); err != nil {
		r.t.Fatal(err)
	}
}

// treeListing is everything of a tree that a person could notice.
func treeListing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := walk(dir, func(rel string, e fs.DirEntry) error {
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(filepath.Join(dir, rel))
			out[rel] = "link to " + to
			return err
		case !info.IsDir():
			data, err := os.ReadFile(filepath.Join(dir, rel))
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %s %q", info.ModTime().UTC().Format(time.RFC3339), data)
		}
		out[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Files are what BuildKit writes when it builds all platforms in one solve on one
// worker, byte for byte, though each comes from a solve of its own.
func TestOutputsAreThoseOfOneSolve(t *testing.T) {
	t.Parallel()
	dir := outputProject(t)
	both := "platforms = [\"linux/arm64\", \"linux/amd64\"]\n"
	for name, tt := range map[string]struct {
		body   string
		typ    string
		attrs  map[string]string
		folder bool
	}{
		"local":                {`output = ["OUT"]`, "local", nil, true},
		"local several":        {both + `output = [{ type = "local", dest = "OUT" }]`, "local", nil, true},
		"local split":          {`output = ["type=local,dest=OUT,platform-split=true"]`, "local", map[string]string{"platform-split": "true"}, true},
		"local not split":      {both + `target = "apart"` + "\n" + `output = ["type=local,dest=OUT,platform-split=false"]`, "local", map[string]string{"platform-split": "false"}, true},
		"tar":                  {`output = ["type=tar,dest=OUT"]`, "tar", nil, false},
		"tar several":          {both + `output = ["type=tar,dest=OUT"]`, "tar", nil, false},
		"oci":                  {`output = ["type=oci,dest=OUT"]`, "oci", map[string]string{"name": "NAME"}, false},
		"oci several":          {both + `output = ["type=oci,dest=OUT"]`, "oci", map[string]string{"name": "NAME"}, false},
		"oci zstd":             {both + `output = ["type=oci,dest=OUT,compression=zstd"]`, "oci", map[string]string{"name": "NAME", "compression": "zstd"}, false},
		"oci annotated":        {both + `annotations = ["index,manifest:k=v", "manifest[linux/arm64]:l=w"]` + "\n" + `output = ["type=oci,dest=OUT"]`, "oci", map[string]string{"name": "NAME", "annotation-index.k": "v", "annotation.k": "v", "annotation[linux/arm64].l": "w"}, false},
		"oci attested":         {both + `attest = ["type=provenance,mode=min,version=v1"]` + "\n" + `output = ["type=oci,dest=OUT"]`, "", nil, false},
		"oci a name":           {both + `output = ["type=oci,dest=OUT,name=acme/app"]`, "oci", map[string]string{"name": "acme/app"}, false},
		"docker":               {`output = ["type=docker,dest=OUT"]`, "docker", map[string]string{"name": "NAME"}, false},
		"docker and an image":  {`output = ["type=image", "type=docker,dest=OUT"]`, "docker", map[string]string{"name": "NAME"}, false},
		"several and an image": {both + `output = ["type=registry", "type=oci,dest=OUT"]`, "oci", map[string]string{"name": "NAME"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, dir)
			scratch, got, want := t.TempDir(), t.TempDir(), t.TempDir()
			at := time.Unix(1_000_000_000, 0).UTC()
			r.change = func(o *Options) { o.Scratch, o.Epoch = scratch, &at }
			body := tt.body
			if !strings.Contains(body, "target =") {
				body += "\ntarget = \"all\""
			}
			hcl := r.spec(strings.ReplaceAll(body, "OUT", filepath.Join(got, "out")))
			if err := r.outputs(hcl); err != nil {
				t.Fatal(err)
			}
			if tt.typ == "" { // holds the times of the build
				if info, err := os.Stat(filepath.Join(got, "out")); err != nil || info.Size() == 0 {
					t.Fatal(info, err)
				}
				return
			}
			export := client.ExportEntry{Type: tt.typ, Attrs: map[string]string{}}
			for k, v := range tt.attrs {
				export.Attrs[k] = strings.Replace(v, "NAME", r.repo()+":1", 1)
			}
			file := filepath.Join(want, "out")
			if tt.folder {
				export.OutputDir = file
			} else {
				export.Output = func(map[string]string) (io.WriteCloser, error) { return os.Create(file) }
			}
			if tt.typ == "oci" || tt.typ == "docker" {
				b := builds(t, hcl)[0]
				addEpoch(export.Attrs, b, r.options())
			}
			r.atOnce(hcl, export)
			if tt.folder {
				if d := cmp.Diff(treeListing(t, want), treeListing(t, got)); d != "" {
					t.Errorf("(-one solve +ours):\n%s", d)
				}
				return
			}
			a, errA := os.ReadFile(file)
			b, errB := os.ReadFile(filepath.Join(got, "out"))
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			if !bytes.Equal(a, b) {
				t.Errorf("one solve wrote %d bytes, we %d:\n%s", len(a), len(b), cmp.Diff(tarEntries(t, a), tarEntries(t, b)))
			}
		})
	}
}

// tarEntries shows the headers of an archive, and what is short in it.
func tarEntries(t *testing.T, data []byte) []string {
	t.Helper()
	var out []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err != nil {
			return out
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%+v %.2000q", *h, text))
	}
}

// What archmage keeps in the workspace is no part of a context that holds it:
// it changes while builds read the context.
func TestStateIsNoInput(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /all", "a": "a", ".archmage/tmp/x": "x", "sub/.archmage/y": "y"})
	r := newRig(t, dir)
	scratch, out := t.TempDir(), t.TempDir()
	r.change = func(o *Options) { o.Scratch = scratch }
	if err := r.outputs(r.spec(fmt.Sprintf("output = [%q]", out))); err != nil {
		t.Fatal(err)
	}
	var got []string
	for path := range treeListing(t, out) {
		got = append(got, path)
	}
	slices.Sort(got)
	if want := []string{"all", "all/Dockerfile", "all/a", "all/sub", "all/sub/.archmage", "all/sub/.archmage/y"}; !slices.Equal(got, want) {
		t.Errorf("the image has %v, want %v", got, want)
	}
}

// Files of several platforms that share a directory may not be the same.
func TestOutputsThatOverwrite(t *testing.T) {
	t.Parallel()
	r := newRig(t, outputProject(t))
	scratch, out := t.TempDir(), t.TempDir()
	r.change = func(o *Options) { o.Scratch = scratch }
	err := r.outputs(r.spec(fmt.Sprintf("target = \"all\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\noutput = [\"type=local,dest=%s,platform-split=false\"]", out)))
	if err == nil || !strings.Contains(err.Error(), "both give the file bin/only") {
		t.Errorf("it says %v", err)
	}
	if left := treeListing(t, out); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}
