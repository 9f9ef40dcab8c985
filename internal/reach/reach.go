// Package reach works out which files an image would run or load, and why: from
// its command through wrappers, scripts, interpreters, loaders and libraries,
// and from the directories that are searched by name. It judges nothing.
package reach

import (
	"maps"
	"path"
	"slices"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// Image is what is to be known of an image.
type Image struct {
	FS       *rootfs.FS
	Platform ocispecs.Platform // normalised
	// Entrypoint, Cmd, Env (KEY=VALUE), WorkingDir and User are the config's.
	Entrypoint, Cmd, Env []string
	WorkingDir, User     string
	// Healthcheck is the command that tests a container, as exec takes it.
	Healthcheck []string
}

// Way is how a file is reached.
type Way string

// The ways, in the order in which a file has one of them.
const (
	Started     Way = "started"     // by name, by the runtime or by what it started
	Interpreter Way = "interpreter" // of a script
	Loader      Way = "loader"      // the dynamic loader of a program
	Library     Way = "library"     // which a program is linked against
	Plugin      Way = "plug-in"     // what a program loads by its name
	Preloaded   Way = "preloaded"   // by LD_PRELOAD or ld.so.preload
	Listed      Way = "listed"      // it lies in a directory of PATH
)

// File is a file that is reached.
type File struct {
	// Path is where it really lies, links followed.
	Path  string
	Inode *rootfs.Inode
	Way   Way
	// What it is to the image, for messages: "the entrypoint", "its loader".
	What string
	// Sure reports whether the image does so whenever it is started as it is;
	// else it depends on what is not known here.
	Sure bool
	// OnPath reports whether nothing but a directory of PATH leads to it.
	OnPath bool
	// Chain is how it is reached, reasons and files in turn: "entrypoint",
	// "/run", "line 4", "/app/server", "DT_NEEDED libpq.so.5", …
	Chain []string
}

// Kind is what is wrong on the way to a file.
type Kind string

// The kinds of problems.
const (
	NoProgram     Kind = "no program"     // what is to be started is not there
	NotExecutable Kind = "not executable" // it is there and cannot be started
	NoInterpreter Kind = "no interpreter" // of a script
	NoLoader      Kind = "no loader"
	NoLibrary     Kind = "no library"
	Misplaced     Kind = "misplaced" // a library that lies where the loader does not look
	NoVersion     Kind = "no version"
	NotUnderstood Kind = "not understood" // a script whose body could not be read
)

// Problem is something that is wrong on the way to a file.
type Problem struct {
	Kind Kind
	// Path is the file it is about, Inode nil if there is none.
	Path  string
	Inode *rootfs.Inode
	// Message is what is wrong, in a sentence; Evidence are facts.
	Message  string
	Evidence []string
	// Library is the library that is missing.
	Library      string
	Sure, OnPath bool
	Chain        []string
}

// Result is what an image reaches.
type Result struct {
	Files    []*File
	Problems []Problem
	// Program is the file that the image runs in the end, as far as is sure.
	Program *File
	// Interpreters are those that are started, by name ("node", "python"),
	// with how they are reached.
	Interpreters map[string][]string
	// LibraryDirs are where loaders look for libraries of the platform.
	LibraryDirs []string

	byPath map[string]*File
}

// File returns a file by its real path, nil if it is not reached.
func (r *Result) File(real string) *File { return r.byPath[real] }

// Find works out what an image reaches.
func Find(image Image) *Result {
	g := &graph{
		image: image, fs: image.FS,
		out:     &Result{Interpreters: map[string][]string{}, byPath: map[string]*File{}},
		visited: map[string]bool{}, steps: maxSteps,
		problems: map[string]bool{}, hosts: map[string]host{},
	}
	g.accounts()
	g.loaderSetup()
	p := g.first()
	g.command(p)
	g.healthcheck(p)
	g.preloaded(p)
	g.modules(p)
	g.listed(p)
	g.out.LibraryDirs = g.libraryDirs(p)
	return g.out
}

// defaultPath is where runtimes look for programs if the image does not say.
// https://github.com/moby/moby/blob/master/oci/defaults.go
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxSteps bounds the commands of scripts that are followed for one image, and
// maxDepth what starts what.
const (
	maxSteps = 20_000
	maxDepth = 40
)

type graph struct {
	image    Image
	fs       *rootfs.FS
	out      *Result
	visited  map[string]bool
	steps    int
	made     bool // a script may have made files
	problems map[string]bool
	hosts    map[string]host // by runtime
	users    []account
	groups   map[string]int
	loaderState
}

// trail is a chain, from its end.
type trail struct {
	up   *trail
	text string
}

func (t *trail) then(text ...string) *trail {
	for _, s := range text {
		t = &trail{t, s}
	}
	return t
}

func (t *trail) chain() []string {
	var out []string
	for ; t != nil; t = t.up {
		out = append(out, t.text)
	}
	slices.Reverse(out)
	return out
}

// process is what a program is started with.
type process struct {
	env    map[string]value
	dir    value
	user   *account // nil: not known
	sure   bool
	onPath bool
	stdin  value  // what it reads
	shell  bool   // a shell starts it
	soft   bool   // what starts it may do without
	what   string // "the entrypoint", for messages
	of     string // the program that a loader or library is for
	at     *trail
	// scriptDir is where the script lies that starts it.
	scriptDir string
	depth     int
}

// first is the process that a runtime starts.
func (g *graph) first() process {
	p := process{env: map[string]value{}, dir: known(path.Join("/", g.image.WorkingDir)), sure: true}
	for _, e := range g.image.Env {
		if k, v, ok := strings.Cut(e, "="); ok {
			p.env[k] = known(v)
		}
	}
	if _, ok := p.env["PATH"]; !ok {
		p.env["PATH"] = known(defaultPath)
	}
	for _, k := range []string{"HOME", "HOSTNAME", "USER", "PWD", "TERM"} {
		if _, ok := p.env[k]; !ok {
			p.env[k] = unknown
		}
	}
	p.user = g.account(g.image.User)
	return p
}

// command follows the entrypoint and command of the image.
func (g *graph) command(p process) {
	argv := slices.Concat(g.image.Entrypoint, g.image.Cmd)
	if len(argv) == 0 || argv[0] == "" {
		return // a base, or files only
	}
	p.what, p.at = "the entrypoint", (*trail)(nil).then("entrypoint")
	if len(g.image.Entrypoint) == 0 {
		p.what, p.at = "the command", (*trail)(nil).then("command")
	}
	g.start(p, knownAll(argv))
}

// healthcheck follows the command that tests a container. One that is not there
// stops nothing but the test.
func (g *graph) healthcheck(p process) {
	if len(g.image.Healthcheck) == 0 {
		return
	}
	program := g.out.Program
	p.what, p.at, p.soft = "the health check", (*trail)(nil).then("health check"), true
	g.start(p, knownAll(g.image.Healthcheck))
	g.out.Program = program
}

// add remembers that a file is reached.
func (g *graph) add(p process, real string, n *rootfs.Inode, way Way) *File {
	f := g.out.byPath[real]
	what := p.what
	switch {
	case way == Loader:
		what = "the loader of " + p.of
	case way == Library:
		what = "a library of " + p.of
	case what == interpreterOf:
		what = "the interpreter of a script"
	}
	if f == nil {
		f = &File{Path: real, Inode: n, Way: way, What: what, Sure: p.sure, OnPath: p.onPath, Chain: p.at.chain()}
		g.out.byPath[real] = f
		g.out.Files = append(g.out.Files, f)
		return f
	}
	if f.OnPath && !p.onPath || !f.Sure && p.sure && f.OnPath == p.onPath {
		f.Way, f.What, f.Sure, f.OnPath, f.Chain = way, what, p.sure, p.onPath, p.at.chain()
	}
	return f
}

// maxProblems bounds what is remembered of one image.
const maxProblems = 2000

// problem remembers one, once.
func (g *graph) problem(p process, problem Problem) {
	problem.Sure, problem.OnPath, problem.Chain = p.sure, p.onPath, p.at.chain()
	key := string(problem.Kind) + "\x00" + problem.Path + "\x00" + problem.Message
	if g.problems[key] || len(g.problems) >= maxProblems {
		return
	}
	g.problems[key] = true
	g.out.Problems = append(g.out.Problems, problem)
}

// listed reaches what lies in the directories of PATH.
func (g *graph) listed(p process) {
	p.onPath, p.what = true, "it"
	var dirs []string
	for _, list := range append(slices.Clone(p.env["PATH"].alts), defaultPath) {
		for dir := range strings.SplitSeq(list, ":") {
			if dir == "" {
				continue
			}
			if !strings.HasPrefix(dir, "/") {
				dir = path.Join("/", g.image.WorkingDir, dir)
			}
			if dir = path.Clean(dir); !slices.Contains(dirs, dir) && len(dirs) < 100 {
				dirs = append(dirs, dir)
			}
		}
	}
	if len(g.out.Files) > 0 && g.s6() && !slices.Contains(dirs, "/command") {
		dirs = append(dirs, "/command")
	}
	seen := map[*rootfs.Inode]bool{}
	for _, dir := range dirs {
		d, real := g.fs.Resolve(dir, true)
		if d == nil || d.Kind != rootfs.KindDir || seen[d] {
			continue
		}
		seen[d] = true
		for _, name := range slices.Sorted(maps.Keys(d.Children)) {
			if at := path.Join(real, name); d.Children[name].Kind != rootfs.KindDir {
				g.listedFile(p, dir, at)
			}
		}
	}
}

func (g *graph) listedFile(p process, dir, at string) {
	n, real := g.fs.Resolve(at, true)
	if n == nil || !n.IsFile() || n.File == nil || n.File.Format == rootfs.FormatOther || n.File.Format == rootfs.FormatWasm {
		return
	}
	p.at = (*trail)(nil).then("PATH directory "+dir, at)
	if real != at {
		p.at = p.at.then(real)
	}
	if f := g.out.byPath[real]; f != nil && !f.OnPath {
		return
	}
	g.add(p, real, n, Listed)
	if n.Mode&0o111 == 0 {
		return
	}
	switch n.File.Format {
	case rootfs.FormatELF:
		g.load(p, real, n)
	case rootfs.FormatScript:
		g.interpreter(p, at, real, n, nil)
	}
}
