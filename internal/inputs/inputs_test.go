package inputs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
)

func TestChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		old, now map[string]string
		want     []string
	}{
		{nil, nil, nil},
		{map[string]string{"a": "1"}, map[string]string{"a": "1"}, nil},
		{map[string]string{"file context/a": "1"}, map[string]string{"file context/a": "2"}, []string{"file a changed"}},
		{map[string]string{"argument V": "1"}, map[string]string{}, []string{"argument V is gone"}},
		{map[string]string{}, map[string]string{"base alpine:3": "x"}, []string{"base alpine:3 is new"}},
		// What follows from another change is named only where it stands alone.
		{map[string]string{partDefinition: "1", "file dockerfile/Dockerfile": "1"}, map[string]string{partDefinition: "2", "file dockerfile/Dockerfile": "2"}, []string{"file Dockerfile changed"}},
		{map[string]string{partDefinition: "1"}, map[string]string{partDefinition: "2"}, []string{partDefinition + " changed"}},
	} {
		if got := Changes(tt.old, tt.now); !slices.Equal(got, tt.want) {
			t.Errorf("Changes(%v, %v) = %q, want %q", tt.old, tt.now, got, tt.want)
		}
	}
}

// No two sets of parts have one digest.
func TestSealIsUnambiguous(t *testing.T) {
	t.Parallel()
	seen := map[string]map[string]string{}
	for _, parts := range []map[string]string{
		{}, {"a": ""}, {"": "a"}, {"a": "b"}, {"ab": ""}, {"a": "1:b"}, {"a": "b", "c": "d"}, {"a": "b1:c1:d"}, {"a1:b": "c"},
	} {
		in := Inputs{Parts: parts}
		in.seal()
		if other, twice := seen[in.Digest]; twice {
			t.Errorf("%v and %v have one digest", parts, other)
		}
		seen[in.Digest] = parts
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	links := map[string]string{
		"a": "b/c", "b": "/d", "up": "../../x", "loop": "loop", "one": "two", "two": "one", "dot": "./d/./e", "d/back": "../f",
	}
	for name, want := range map[string]string{
		"/x": "x", "/a": "d/c", "/b/c/e": "d/c/e", "/up": "x", "/dot": "d/e", "/d/back/g": "f/g", "/a/b": "d/c/b",
	} {
		if got, err := follow(name, links); err != nil || got != want {
			t.Errorf("follow(%s) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"/loop", "/one"} {
		if got, err := follow(name, links); err == nil {
			t.Errorf("follow(%s) = %q, want an error", name, got)
		}
	}
}

func FuzzFollow(f *testing.F) {
	f.Add("/a/b", "a", "../b", "b", "/a")
	f.Fuzz(func(t *testing.T, name, l1, t1, l2, t2 string) {
		got, err := follow("/"+name, map[string]string{l1: t1, l2: t2})
		if err == nil && (strings.HasPrefix(got, "/") || got == ".." || strings.HasPrefix(got, "../")) {
			t.Errorf("%q leads out of the root", got)
		}
	})
}

// A definition has one digest each time it is made, whatever its client calls a
// directory, and another one for other steps.
func TestNormalize(t *testing.T) {
	t.Parallel()
	sum := func(file string) string {
		st := llb.Scratch().File(llb.Copy(llb.Local("context", llb.FollowPaths([]string{file})), file, "/"))
		def, err := st.Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stable, last := map[string]string{}, ""
		for _, raw := range def.Def {
			op, err := normalize(raw, stable)
			if err != nil {
				t.Fatal(err)
			}
			if src := op.GetSource(); src != nil && src.Attrs[pb.AttrLocalUniqueID] != "" {
				t.Error("the name that the client gave is still there")
			}
			last = stable[digest.FromBytes(raw).String()]
		}
		return last
	}
	if sum("a") != sum("a") {
		t.Error("the same steps have two digests")
	}
	if sum("a") == sum("b") {
		t.Error("two steps have one digest")
	}
}

func FuzzNormalize(f *testing.F) {
	def, err := llb.Image("docker.io/library/alpine:3").Run(llb.Shlex("true")).Marshal(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range def.Def {
		f.Add(raw)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		_, _ = normalize(raw, map[string]string{})
	})
}

func stats(path, content string, mtime int64) []*listing {
	return []*listing{{stats: map[string]fileStat{path: {size: int64(len(content)), mtime: mtime, mode: 0o644, content: content}}}}
}

// The shared key of a directory changes exactly when BuildKit would take a file
// for one that it was sent before.
func TestKeyChangesWithAmbiguity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := func(fresh bool, l []*listing) string {
		t.Helper()
		r := NewReader(nil, dir, os.Environ())
		if fresh {
			r = NewReader(nil, t.TempDir(), os.Environ())
		}
		k, err := r.key("/ctx", l)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one := key(false, stats("a", "1", 1))
	for what, l := range map[string][]*listing{
		"nothing": stats("a", "1", 1), "a later time": stats("a", "2", 2), "another size": stats("a", "11", 1), "another file": stats("b", "2", 1),
	} {
		if key(false, l) != one {
			t.Errorf("%s: another key", what)
		}
	}
	two := key(false, stats("a", "3", 1))
	if two == one {
		t.Error("other bytes of the same size and time have the same key")
	}
	if key(false, stats("a", "3", 1)) != two {
		t.Error("the key does not stay")
	}
	// What was sent long ago counts too.
	if key(false, stats("a", "1", 1)) == two {
		t.Error("the bytes of before have the key of those in between")
	}
	if key(true, stats("a", "1", 1)) == one {
		t.Error("a machine that remembers nothing has the same key")
	}
}

func FuzzSent(f *testing.F) {
	f.Add([]byte("0123456789abcdef"))
	f.Add([]byte(strings.Repeat("x", 48)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := memory{t.TempDir()}
		if err := m.write("sent", "/d", raw); err != nil {
			t.Fatal(err)
		}
		if s := m.sent("/d"); len(s.known) > len(raw)/16 {
			t.Errorf("%d entries of %d bytes", len(s.known), len(raw))
		}
	})
}

func TestRecall(t *testing.T) {
	t.Parallel()
	r := NewReader(nil, t.TempDir(), os.Environ())
	in := Inputs{Parts: map[string]string{"file context/a": "1"}}
	in.seal()
	if got := r.Recall("app linux/amd64", in.Digest); got != nil {
		t.Errorf("recalled %v before it was kept", got)
	}
	if err := r.Remember("app linux/amd64", &in); err != nil {
		t.Fatal(err)
	}
	if got := r.Recall("app linux/amd64", in.Digest); got["file context/a"] != "1" {
		t.Errorf("recalled %v", got)
	}
	if got := r.Recall("app linux/amd64", "other"); got != nil {
		t.Errorf("recalled %v for other inputs", got)
	}
	for _, path := range glob(t, r.memory.dir) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Recall("app linux/amd64", in.Digest); got != nil {
		t.Errorf("recalled %v from a damaged file", got)
	}
}

func glob(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("%v, %v", found, err)
	}
	return found
}

// A file's digest is taken from the cache only while nothing can have changed.
func TestFileCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	var c fileCache
	reads := 0
	sum := func() string {
		t.Helper()
		d, err := c.digest(dir, "a", func() (io.ReadCloser, error) { reads++; return os.Open(path) })
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	// Written again and again with one time and size: no change is missed.
	then := time.Now().Add(-time.Hour)
	for i := range 200 {
		text := strings.Repeat(string(rune('a'+i%26)), 8)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
		if got, want := sum(), digest.FromString(text).Encoded(); got != want {
			t.Fatalf("write %d: the digest is that of other bytes", i)
		}
	}
	if id, ok := identify(path); ok {
		for time.Since(time.Unix(0, id.change)) <= settled { // the file grows old
			time.Sleep(settled / 10)
		}
		sum()
		if reads = 0; sum() == "" || reads != 0 {
			t.Errorf("an old file was read %d times more", reads)
		}
	}
}

type brokenFS struct {
	fsutil.FS
	err error
}

func (b brokenFS) Open(string) (io.ReadCloser, error) { return nil, b.err }

// A file that cannot be read is no empty file.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := Build{
		Opt: &client.SolveOpt{
			Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"platform": "linux/amd64"},
			LocalMounts: map[string]fsutil.FS{"dockerfile": tree, "context": brokenFS{tree, &fs.PathError{Op: "open", Path: "a", Err: fs.ErrPermission}}},
		},
		Dirs: map[string]string{"context": dir, "dockerfile": dir},
	}
	_, err = NewReader(nil, "", os.Environ()).Read(t.Context(), b)
	if want := "reading " + filepath.Join(dir, "a") + " of the build context: permission denied"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestGitCommit(t *testing.T) {
	t.Parallel()
	repo := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", repo, "-c", "user.email=a@example.com", "-c", "user.name=a"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("commit", "-q", "--allow-empty", "-m", "one")
	one := git("rev-parse", "HEAD")
	git("tag", "-a", "v1", "-m", "v1")
	git("branch", "feature/main")
	git("commit", "-q", "--allow-empty", "-m", "two")
	two := git("rev-parse", "HEAD")
	for ref, want := range map[string]string{"": two, "main": two, "v1": one, "feature/main": one, "refs/heads/main": two, one: one} {
		if got, err := (&gitRefs{environ: os.Environ()}).lsRemote(t.Context(), repo, ref); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", ref, got, err, want)
		}
	}
	if got, err := (&gitRefs{environ: os.Environ()}).lsRemote(t.Context(), repo, "nothing"); err == nil {
		t.Errorf("a branch that is not there is %s", got)
	}
	if got, err := (&gitRefs{environ: os.Environ()}).lsRemote(t.Context(), filepath.Join(repo, "nowhere"), "main"); err == nil {
		t.Errorf("a repository that is not there has %s", got)
	}
}

// silent is a registry that answers until it is cut off.
type silent struct {
	Registry
	digest digest.Digest
	err    error
}

func (s *silent) Head(context.Context, string) (ocispecs.Descriptor, error) {
	return ocispecs.Descriptor{Digest: s.digest}, s.err
}

// Offline, a base image counts as its registry last said, if that does not answer;
// an answer, whatever it is, counts always.
func TestOffline(t *testing.T) {
	t.Parallel()
	cut, refused := errors.New("cut off"), errors.New("not found")
	first, second := digest.FromString("1"), digest.FromString("2")
	dir := t.TempDir()
	reg := &silent{digest: first}
	ask := func(offline bool) (digest.Digest, []OldBase, error) {
		r := NewReader(reg, dir, nil)
		if offline {
			r.Offline(func(err error) bool { return errors.Is(err, cut) })
		}
		d, err := r.images.head(t.Context(), "r.example/base:1")
		if moved := r.images.moved(t.Context(), func(string) bool { return true }); err == nil && len(moved) > 0 {
			t.Errorf("it has moved: %v", moved)
		}
		return d, r.OldBases(), err
	}
	reg.err = cut
	if _, _, err := ask(true); !errors.Is(err, cut) {
		t.Errorf("what was never seen: %v", err)
	}
	reg.err = nil
	if d, old, err := ask(false); d != first || len(old) > 0 || err != nil {
		t.Errorf("%s, %v, %v", d, old, err)
	}
	reg.err = cut
	if _, _, err := ask(false); !errors.Is(err, cut) {
		t.Errorf("not offline: %v", err)
	}
	d, old, err := ask(true)
	if d != first || err != nil || len(old) != 1 || old[0].Ref != "r.example/base:1" || old[0].Digest != first || time.Since(old[0].Seen) > time.Minute {
		t.Errorf("offline: %s, %v, %v", d, old, err)
	}
	reg.err = refused
	if _, _, err := ask(true); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
	reg.digest, reg.err = second, nil
	if d, old, err := ask(true); d != second || len(old) > 0 || err != nil {
		t.Errorf("it moved: %s, %v, %v", d, old, err)
	}
	reg.err = cut
	if d, _, err := ask(true); d != second || err != nil {
		t.Errorf("after that: %s, %v", d, err)
	}
}
