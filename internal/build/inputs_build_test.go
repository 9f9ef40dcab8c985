package build

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"github.com/archmage-build/archmage/internal/embedded/embeddedtest"
	"github.com/archmage-build/archmage/internal/inputs"
)

// A case is a project, and a change to it.
type inputCase struct {
	name string
	// dockerfile of the project; REG is the test's registry, BASE a repository in
	// it with the tags made by bases.
	dockerfile string
	files      map[string]string // name → content, "-> target" for a link
	target     string            // more of the target block
	// change is applied between two builds.
	change func(t *testing.T, p *project)
	// same says that the image does not change by it.
	same bool
	// careful says that the inputs differ all the same: BuildKit is sent more than
	// it uses.
	careful bool
	// unknown says that the inputs cannot be known, so that every release builds.
	unknown bool
}

// project is a case on disk.
type project struct {
	rig *rig
	dir string
}

func (p *project) path(name string) string { return filepath.Join(p.dir, name) }

func (p *project) write(t *testing.T, name, text string) {
	t.Helper()
	path := p.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path) // it may be a link
	if to, ok := strings.CutPrefix(text, "-> "); ok {
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// set is a change that writes a file.
func set(name, text string) func(*testing.T, *project) {
	return func(t *testing.T, p *project) { t.Helper(); p.write(t, name, text) }
}

// bases pushes the images that cases build on.
func (p *project) base(t *testing.T, tag, dockerfile string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	sub := &project{rig: p.rig, dir: dir}
	for name, text := range files {
		sub.write(t, name, text)
	}
	sub.write(t, "Dockerfile", dockerfile)
	r := &rig{t: t, client: p.rig.client, host: p.rig.host, dir: dir, env: map[string]string{}, inputs: inputs.NewReader(nil, "", os.Environ())}
	res, err := r.try(r.spec(""))
	if err != nil {
		t.Fatal(err)
	}
	c := registryClient(t, p.rig.host)
	desc, raw, err := c.Manifest(t.Context(), r.repo()+"@"+res.Descriptor.Digest.String())
	if err == nil {
		err = c.PutManifest(t.Context(), r.repo()+":"+tag, desc.MediaType, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// solved is a build that was read and made.
type solved struct {
	*image
	read     *inputs.Reading
	sent     inputs.Inputs
	foreseen []string
	asked    []string
}

// solve reads the inputs of the project as a new release does, and builds it.
func (p *project) solve(t *testing.T, spec, state string) solved {
	t.Helper()
	r := *p.rig
	r.t, r.inputs = t, inputs.NewReader(registryClient(t, p.rig.host), state, os.Environ())
	o := r.options()
	epoch := epoch2001
	o.Epoch = &epoch
	list := builds(t, spec)
	b := list[len(list)-1]
	reading, err := ReadInputs(t.Context(), b, nil, platforms.DefaultSpec(), o)
	if err != nil {
		t.Fatal(err)
	}
	opt, err := solveOpt(b, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := inputs.Watch(opt, reading); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]bool{}
	watch := opt.LocalFilterOpt
	opt.LocalFilterOpt = func(name string, f *fsutil.FilterOpt) error {
		mu.Lock()
		defer mu.Unlock()
		asked[inputs.Request(name, f)] = true
		return watch(name, f)
	}
	resp, err := r.client.Solve(t.Context(), nil, *opt, make(chan *client.SolveStatus, 1000))
	if err != nil {
		t.Fatal(err)
	}
	desc, err := pushed(resp.ExporterResponse)
	if err != nil {
		t.Fatal(err)
	}
	foreseen := reading.Requests()
	slices.Sort(foreseen)
	return solved{
		image: r.image(&Result{Descriptor: desc}), read: reading, sent: reading.Sent(),
		foreseen: foreseen, asked: slices.Sorted(maps.Keys(asked)),
	}
}

// What BuildKit reads of a project is what is read here: the inputs differ exactly
// when the image does, and the daemon is asked for no files but those.
func TestInputsOnDaemon(t *testing.T) {
	t.Parallel()
	address := embeddedtest.Worker(t).Address
	for _, tt := range inputCases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &project{rig: rigOn(t, address, ""), dir: t.TempDir()}
			p.rig.dir = p.dir
			words := strings.NewReplacer("REG", p.rig.host, "BASE", p.rig.repo())
			if strings.Contains(tt.dockerfile+tt.target, "BASE:") {
				p.base(t, "one", "FROM scratch\nCOPY base /base\n", map[string]string{"base": "one"})
				p.base(t, "onbuild", "FROM scratch\nCOPY base /base\nONBUILD COPY src /src\n", map[string]string{"base": "two"})
				p.base(t, "shell", "FROM scratch\nCOPY --chmod=755 sh /bin/sh\n", map[string]string{"sh": busybox(t)})
			}
			for name, text := range tt.files {
				p.write(t, name, text)
			}
			if tt.dockerfile != "" {
				p.write(t, "Dockerfile", words.Replace(tt.dockerfile))
			}
			spec := p.rig.spec(words.Replace(tt.target))
			state := t.TempDir()

			first := p.solve(t, spec, state)
			check := func(s solved) {
				t.Helper()
				if unknown := !s.sent.Complete(); unknown != tt.unknown {
					t.Errorf("unknown are %q; want some: %v", s.sent.Unknown, tt.unknown)
				}
				if !tt.unknown && !slices.Equal(s.foreseen, s.asked) {
					t.Errorf("the daemon asked for\n %s\nforeseen was\n %s", strings.Join(s.asked, "\n "), strings.Join(s.foreseen, "\n "))
				}
			}
			check(first)
			again := p.solve(t, spec, state)
			check(again)
			if !tt.unknown && again.read.Digest != first.read.Digest {
				t.Errorf("nothing changed, but the inputs did: %q", inputs.Changes(first.read.Parts, again.read.Parts))
			}
			if tt.change == nil {
				return
			}
			tt.change(t, p)
			after := p.solve(t, spec, state)
			check(after)
			images := first.result.Descriptor.Digest != after.result.Descriptor.Digest
			if images == tt.same {
				t.Errorf("the image differs: %v", images)
			}
			if read := first.read.Digest != after.read.Digest; !tt.unknown && read != (images || tt.careful) {
				t.Errorf("the image differs: %v, its inputs: %v: %q", images, read, inputs.Changes(first.read.Parts, after.read.Parts))
			}
			if why := inputs.Changes(first.read.Parts, after.read.Parts); images && !tt.unknown && (len(why) == 0 || strings.Contains(why[0], partDerived)) {
				t.Errorf("nobody can tell what changed: %q", why)
			}
		})
	}
}

// partDerived is in the parts that say no more than that something changed.
const partDerived = "the steps of"

func busybox(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(embeddedtest.Busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sameTimes writes a file of the same size with the time that it had.
func sameTimes(name, text string) func(*testing.T, *project) {
	return func(t *testing.T, p *project) {
		t.Helper()
		info, err := os.Stat(p.path(name))
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(text)) != info.Size() {
			t.Fatal("the size differs")
		}
		if err := os.WriteFile(p.path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p.path(name), time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

func chmod(name string, mode os.FileMode) func(*testing.T, *project) {
	return func(t *testing.T, p *project) {
		t.Helper()
		if err := os.Chmod(p.path(name), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func move(tag, content string) func(*testing.T, *project) {
	return func(t *testing.T, p *project) {
		t.Helper()
		p.base(t, tag, "FROM scratch\nCOPY base /base\n", map[string]string{"base": content})
	}
}

// inputCases are written as people write Dockerfiles.
var inputCases = []inputCase{
	// Files and links.
	{name: "a file", dockerfile: "FROM scratch\nCOPY a /a\n", files: m("a", "1"), change: set("a", "2")},
	{name: "a file that nobody names", dockerfile: "FROM scratch\nCOPY a /a\n", files: m("a", "1", "b", "1"), change: set("b", "2"), same: true},
	{name: "a file of the same size and time", dockerfile: "FROM scratch\nCOPY a /a\n", files: m("a", "1"), change: sameTimes("a", "2")},
	{name: "the time of a file", dockerfile: "FROM scratch\nCOPY a /a\n", files: m("a", "1"), change: func(t *testing.T, p *project) {
		if err := os.Chtimes(p.path("a"), time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}, same: true},
	{name: "the mode of a file", dockerfile: "FROM scratch\nCOPY a /a\n", files: m("a", "1"), change: chmod("a", 0o755)},
	{name: "a new file in a directory", dockerfile: "FROM scratch\nCOPY d /d\n", files: m("d/a", "1"), change: set("d/b", "2")},
	{name: "a file that goes", dockerfile: "FROM scratch\nCOPY d /d\n", files: m("d/a", "1", "d/b", "1"), change: func(t *testing.T, p *project) { _ = os.Remove(p.path("d/b")) }},
	{name: "a file that is renamed", dockerfile: "FROM scratch\nCOPY d /d\n", files: m("d/a", "1"), change: func(t *testing.T, p *project) { _ = os.Rename(p.path("d/a"), p.path("d/z")) }},
	{name: "a new empty directory", dockerfile: "FROM scratch\nCOPY d /d\n", files: m("d/a", "1"), change: func(t *testing.T, p *project) { _ = os.Mkdir(p.path("d/e"), 0o755) }},
	{name: "a link to a file", dockerfile: "FROM scratch\nCOPY config /config\n", files: m("env/prod", "1", "config", "-> env/prod"), change: set("env/prod", "2")},
	{name: "a link to a directory", dockerfile: "FROM scratch\nCOPY dist /dist\n", files: m("build/out/a", "1", "dist", "-> build/out"), change: set("build/out/a", "2")},
	{name: "a chain of links", dockerfile: "FROM scratch\nCOPY a /a\n", files: m("d/e/f", "1", "b", "-> d/e/f", "a", "-> b"), change: set("d/e/f", "2")},
	{name: "a link in the middle", dockerfile: "FROM scratch\nCOPY current/v /v\n", files: m("v2/v", "1", "current", "-> v2"), change: set("v2/v", "2")},
	{name: "a link that is turned", dockerfile: "FROM scratch\nCOPY current/v /v\n", files: m("v1/v", "1", "v2/v", "2", "current", "-> v1"), change: set("current", "-> v2")},
	{name: "a link upwards", dockerfile: "FROM scratch\nCOPY d/a /a\n", files: m("top", "1", "d/a", "-> ../top"), change: set("top", "2")},
	{name: "a link of an absolute path", dockerfile: "FROM scratch\nCOPY d/a /a\n", files: m("top", "1", "d/a", "-> /top"), change: set("top", "2")},
	{name: "a link within a copied directory", dockerfile: "FROM scratch\nCOPY d /d\n", files: m("d/a", "-> ../x", "x", "1"), change: set("x", "2"), same: true},
	{name: "a link within a copied directory that is turned", dockerfile: "FROM scratch\nCOPY d /d\n", files: m("d/a", "-> ../x"), change: set("d/a", "-> ../y")},
	{name: "a link behind a wildcard", dockerfile: "FROM scratch\nCOPY c*g /\n", files: m("env/prod", "1", "cfg", "-> env/prod"), change: set("env/prod", "2")},
	{name: "a wildcard", dockerfile: "FROM scratch\nCOPY *.txt /\n", files: m("a.txt", "1", "b.md", "1"), change: set("c.txt", "1")},
	{name: "beside a wildcard", dockerfile: "FROM scratch\nCOPY *.txt /\n", files: m("a.txt", "1", "b.md", "1"), change: set("b.md", "2"), same: true},
	{name: "the whole context", dockerfile: "FROM scratch\nCOPY . /\n", files: m("a", "1"), change: set("b", "2")},
	{name: "a name with blanks", dockerfile: "FROM scratch\nCOPY [\"a b\", \"/x\"]\n", files: m("a b", "1"), change: set("a b", "2")},
	{name: "a name with brackets", dockerfile: "FROM scratch\nCOPY a[[]1].txt /x\n", files: m("a[1].txt", "1"), change: set("a[1].txt", "2")},
	{name: "parents", dockerfile: "# syntax-less\nFROM scratch\nCOPY --parents d/*/a /x/\n", files: m("d/e/a", "1"), change: set("d/e/a", "2")},
	{name: "excluded by COPY", dockerfile: "FROM scratch\nCOPY --exclude=*.md d /d\n", files: m("d/a", "1", "d/b.md", "1"), change: set("d/b.md", "2"), same: true, careful: true},
	{name: "chmod in COPY", dockerfile: "FROM scratch\nCOPY --chmod=600 a /a\n", files: m("a", "1"), change: set("a", "2")},
	{name: "an archive", dockerfile: "FROM scratch\nADD a.txt /a\n", files: m("a.txt", "1"), change: set("a.txt", "2")},
	{name: "link as an option", dockerfile: "FROM scratch\nCOPY --link a /a\n", files: m("a", "1"), change: set("a", "2")},
	{name: "a hard link", dockerfile: "FROM scratch\nCOPY d /d\n", files: m("d/a", "1"), change: func(t *testing.T, p *project) {
		if err := os.Link(p.path("d/a"), p.path("d/b")); err != nil {
			t.Fatal(err)
		}
	}},

	// What is left out.
	{name: "an ignored file", dockerfile: "FROM scratch\nCOPY . /\n", files: m("a", "1", "b", "1", ".dockerignore", "b\n"), change: set("b", "2"), same: true},
	{name: "no longer ignored", dockerfile: "FROM scratch\nCOPY d /\n", files: m("d/a", "1", "d/b", "1", ".dockerignore", "d/b\n"), change: set(".dockerignore", "\n")},
	{name: "an exception", dockerfile: "FROM scratch\nCOPY . /\n", files: m("a", "1", "b", "1", ".dockerignore", "*\n!a\n"), change: set("a", "2")},
	{name: "behind an exception", dockerfile: "FROM scratch\nCOPY . /\n", files: m("a", "1", "b", "1", ".dockerignore", "*\n!a\n"), change: set("b", "2"), same: true},
	{name: "an ignore file of the Dockerfile", dockerfile: "FROM scratch\nCOPY d /\n", files: m("d/a", "1", "d/b", "1", ".dockerignore", "d/a\n", "Dockerfile.dockerignore", "d/b\n"), change: set("d/a", "2")},
	{name: "inline beside an ignore file", files: m("d/a", "1", "Dockerfile.dockerignore", "d/a\n"), target: "dockerfile-inline = \"FROM scratch\\nCOPY d /\\n\"", change: set("d/a", "2")},

	// Arguments and variables.
	{name: "ENV over ARG", dockerfile: "FROM scratch\nARG DIR=debug\nENV DIR=release\nCOPY $DIR /app\n", files: m("debug/a", "1", "release/a", "1"), change: set("release/a", "2")},
	{name: "beside ENV over ARG", dockerfile: "FROM scratch\nARG DIR=debug\nENV DIR=release\nCOPY $DIR /app\n", files: m("debug/a", "1", "release/a", "1"), change: set("debug/a", "2"), same: true},
	{name: "an argument from the target", dockerfile: "FROM scratch\nARG DIR=debug\nCOPY $DIR /app\n", files: m("debug/a", "1", "release/a", "1"), target: "args = { DIR = \"release\" }", change: set("release/a", "2")},
	{name: "a default of a variable", dockerfile: "FROM scratch\nARG D\nCOPY ${D:-dist} /app\n", files: m("dist/a", "1"), change: set("dist/a", "2")},
	{name: "a cut variable", dockerfile: "FROM scratch\nARG D=x-dist\nCOPY ${D#x-} /app\n", files: m("dist/a", "1"), change: set("dist/a", "2")},
	{name: "a global argument", dockerfile: "ARG D=dist\nFROM scratch\nARG D\nCOPY $D /app\n", files: m("dist/a", "1"), change: set("dist/a", "2")},
	{name: "the platform", dockerfile: "FROM scratch\nARG TARGETARCH\nCOPY dist/$TARGETARCH /app\n", files: m("dist/amd64/a", "1", "dist/arm64/a", "1"), change: set("dist/amd64/a", "2")},
	{name: "another platform", dockerfile: "FROM scratch\nARG TARGETARCH\nCOPY dist/$TARGETARCH /app\n", files: m("dist/amd64/a", "1", "dist/arm64/a", "1"), change: set("dist/arm64/a", "2"), same: true},
	{name: "another escape", dockerfile: "# escape=`\nFROM scratch\nCOPY a `\n b /d/\n", files: m("a", "1", "b", "1"), change: set("b", "2")},

	// Stages.
	{name: "a stage by name", dockerfile: "FROM scratch AS x\nCOPY a /a\nFROM scratch\nCOPY --from=x /a /\n", files: m("a", "1"), change: set("a", "2")},
	{name: "a stage by number", dockerfile: "FROM scratch\nCOPY v /v\nFROM scratch\nCOPY --from=0 / /\n", files: m("v", "1"), change: set("v", "2")},
	{name: "a stage that nobody uses", dockerfile: "FROM scratch AS x\nCOPY a /a\nFROM scratch\nCOPY b /b\n", files: m("a", "1", "b", "1"), change: set("a", "2"), same: true},
	{name: "ONBUILD of a stage", dockerfile: "FROM scratch AS x\nONBUILD COPY src /src\nFROM x\n", files: m("src/a", "1"), change: set("src/a", "2")},
	{name: "a target stage", dockerfile: "FROM scratch AS x\nCOPY a /a\nFROM scratch\nCOPY b /b\n", files: m("a", "1", "b", "1"), target: "target = \"x\"", change: set("a", "2")},
	{name: "beside a target stage", dockerfile: "FROM scratch AS x\nCOPY a /a\nFROM scratch\nCOPY b /b\n", files: m("a", "1", "b", "1"), target: "target = \"x\"", change: set("b", "2"), same: true},

	// Base images.
	{name: "a base that moves", dockerfile: "FROM BASE:one\nCOPY a /a\n", files: m("a", "1"), change: move("one", "new")},
	{name: "a base that stays", dockerfile: "FROM BASE:one\nCOPY a /a\n", files: m("a", "1"), change: move("other", "new"), same: true},
	{name: "ONBUILD of a base", dockerfile: "FROM BASE:onbuild\n", files: m("src/a", "1"), change: set("src/a", "2")},
	{name: "copied from a base", dockerfile: "FROM scratch\nCOPY --from=BASE:one /base /b\n", change: move("one", "new")},
	{name: "a base by argument", dockerfile: "ARG TAG=one\nFROM BASE:${TAG}\n", change: move("one", "new")},
	{name: "a base that is named context", dockerfile: "FROM thing\n", target: "contexts = { thing = \"docker-image://BASE:one\" }", change: move("one", "new")},
	{name: "a mount from a base", dockerfile: "FROM BASE:shell\nRUN --mount=type=bind,FROM=BASE:one,target=/m /bin/sh -c 'read x </m/base; echo $x >/x' || true\n", change: move("one", "new")},

	// Steps.
	{name: "the context mounted", dockerfile: "FROM BASE:shell\nRUN --mount=target=/m read x </m/a; echo $x >/x\n", files: m("a", "1\n"), change: set("a", "2\n")},
	{name: "a file mounted", dockerfile: "FROM BASE:shell\nRUN --mount=source=a,target=/m read x </m; echo $x >/x\n", files: m("a", "1\n", "b", "1"), change: set("a", "2\n")},
	{name: "a heredoc", dockerfile: "FROM BASE:shell\nCOPY <<EOF /x\ntext\nEOF\n", change: func(t *testing.T, p *project) {
		p.write(t, "Dockerfile", "FROM "+p.rig.repo()+":shell\nCOPY <<EOF /x\nother\nEOF\n")
	}},
	{name: "a step", dockerfile: "FROM BASE:shell\nRUN echo 1 >/x\n", change: func(t *testing.T, p *project) {
		p.write(t, "Dockerfile", "FROM "+p.rig.repo()+":shell\nRUN echo 2 >/x\n")
	}},
	{name: "a label in the Dockerfile", dockerfile: "FROM scratch\nLABEL a=1\nCOPY a /a\n", files: m("a", "1"), change: set("Dockerfile", "FROM scratch\nLABEL a=2\nCOPY a /a\n")},
	{name: "no cache", dockerfile: "FROM scratch\nCOPY a /a\n", files: m("a", "1"), target: "no-cache = true", change: set("a", "2"), unknown: true},

	// Other contexts.
	{name: "a named context", dockerfile: "FROM scratch\nCOPY --from=more a /a\n", files: m("more/a", "1"), target: "contexts = { more = \"more\" }", change: set("more/a", "2")},
	{name: "beside a named context", dockerfile: "FROM scratch\nCOPY --from=more a /a\n", files: m("more/a", "1", "more/b", "1"), target: "contexts = { more = \"more\" }", change: set("more/b", "2"), same: true},
	{name: "an ignore file of a named context", dockerfile: "FROM scratch\nCOPY --from=more . /\n", files: m("more/a", "1", "more/b", "1", "more/.dockerignore", "b\n"), target: "contexts = { more = \"more\" }", change: set("more/b", "2"), same: true},
	{name: "a Dockerfile elsewhere", files: m("docker/Dockerfile", "FROM scratch\nCOPY a /a\n", "app/a", "1", "app/docker/Dockerfile", "FROM nowhere\n"), target: "context = \"app\"\ndockerfile = \"cwd://docker/Dockerfile\"", change: set("docker/Dockerfile", "FROM scratch\nCOPY a /b\n")},
	{name: "a Dockerfile in lower case", files: m("dockerfile", "FROM scratch\nCOPY a /a\n", "a", "1"), change: set("dockerfile", "FROM scratch\nCOPY a /b\n")},
	{name: "a Dockerfile that is a link", files: m("docker/prod", "FROM scratch\nCOPY a /a\n", "Dockerfile", "-> docker/prod", "a", "1"), change: set("docker/prod", "FROM scratch\nCOPY a /b\n")},
	{name: "an address without a checksum", dockerfile: "ARG URL=http://REG/v2/\nFROM scratch\nARG URL\nADD $URL /a\n", unknown: true},
}

// m makes a map of names and contents.
func m(pairs ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func TestInputCasesAreMany(t *testing.T) {
	t.Parallel()
	if len(inputCases) < 60 {
		t.Errorf("%d cases", len(inputCases))
	}
	t.Log(fmt.Sprint(len(inputCases), " cases"))
}

// What changes while it is built is released for what was sent, and never reused.
func TestChangedWhileBuilt(t *testing.T) {
	t.Parallel()
	r := rigOn(t, embeddedtest.Worker(t).Address, "")
	p := &project{rig: r, dir: t.TempDir()}
	r.dir = p.dir
	p.write(t, "Dockerfile", "FROM scratch\nCOPY d /d\n")
	for _, tt := range []struct {
		name   string
		change func()
		want   []string
	}{
		{"nothing", func() {}, nil},
		{"a file", func() { p.write(t, "d/a", "2") }, []string{"context/d/a"}},
		{"a new file", func() { p.write(t, "d/c", "2") }, []string{"context/d/c"}},
		{"a file that goes", func() { _ = os.Remove(p.path("d/b")) }, []string{"context/d/b"}},
		{"a mode", func() { _ = os.Chmod(p.path("d/a"), 0o600) }, []string{"context/d/a"}},
	} {
		_ = os.RemoveAll(p.path("d"))
		p.write(t, "d/a", "1")
		p.write(t, "d/b", "1")
		b := builds(t, r.spec(""))[0]
		o := r.options()
		reading, err := ReadInputs(t.Context(), b, nil, platforms.DefaultSpec(), o)
		if err != nil {
			t.Fatal(err)
		}
		opt, err := solveOpt(b, nil, o)
		if err == nil {
			err = inputs.Watch(opt, reading)
		}
		if err != nil {
			t.Fatal(err)
		}
		tt.change()
		if _, err := r.client.Solve(t.Context(), nil, *opt, make(chan *client.SolveStatus, 1000)); err != nil {
			t.Fatal(err)
		}
		if got := reading.Changed(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: changed are %q, want %q", tt.name, got, tt.want)
		}
		if sent := reading.Sent(); sent.Complete() != (tt.want == nil) {
			t.Errorf("%s: unknown are %q", tt.name, sent.Unknown)
		}
	}
}
