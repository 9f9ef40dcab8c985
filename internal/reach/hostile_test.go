package reach_test

import (
	"debug/elf"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/reach"
	"github.com/archmage-build/archmage/internal/rootfs"
)

// patience is how long a busy machine may take for what is a second's work.
const patience = 2 * time.Minute

// tree is a file system that is made by hand.
type tree struct {
	t  testing.TB
	fs *rootfs.FS
}

func newTree(t testing.TB) *tree {
	fs := rootfs.New()
	fs.Next(digest.FromString("x"))
	return &tree{t, fs}
}

func (tr *tree) add(e rootfs.Entry) {
	tr.t.Helper()
	e.Path = strings.TrimPrefix(e.Path, "/")
	if err := tr.fs.Apply(e); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) script(name, text string) {
	line, _, _ := strings.Cut(strings.TrimPrefix(text, "#!"), "\n")
	tr.add(rootfs.Entry{Path: name, Mode: 0o755, File: &rootfs.File{Format: rootfs.FormatScript, Shebang: line, Text: []byte(text)}})
}

func (tr *tree) text(name, text string) {
	tr.add(rootfs.Entry{Path: name, Mode: 0o644, File: &rootfs.File{Text: []byte(text)}})
}

func (tr *tree) elf(name string, e rootfs.ELF) {
	e.Bits, e.Machine, e.Type = 64, elf.EM_AARCH64, elf.ET_DYN
	tr.add(rootfs.Entry{Path: name, Mode: 0o755, File: &rootfs.File{Format: rootfs.FormatELF, ELF: &e}})
}

func (tr *tree) link(name, to string) {
	tr.add(rootfs.Entry{Path: name, Kind: rootfs.KindSymlink, Link: to})
}

// find must come to an end soon.
func (tr *tree) find(entrypoint ...string) *reach.Result {
	tr.t.Helper()
	start := time.Now()
	r := reach.Find(reach.Image{FS: tr.fs, Platform: ocispecs.Platform{OS: "linux", Architecture: "arm64"}, Entrypoint: entrypoint, Cmd: []string{"/run", "x"}, Env: []string{"A=1", "PATH=/bin:/usr/bin"}})
	if took := time.Since(start); took > patience {
		tr.t.Errorf("it took %v", took)
	}
	return r
}

func TestHostileScripts(t *testing.T) {
	t.Parallel()
	calls := "f0() { true; }\n"
	for i := range 60 {
		calls += fmt.Sprintf("f%d() { f%d; f%d; }\n", i+1, i, i)
	}
	ifs := strings.Repeat("if x; then ", 5000) + "true" + strings.Repeat("; fi", 5000)
	assign := ""
	for i := range 200 {
		assign += fmt.Sprintf("if a; then V%d=\"x$V%d\"; else V%d=\"y$V%d$V%d\"; fi\n", i+1, i, i+1, i, i)
	}
	for name, body := range map[string]string{
		"fork bomb":          ":(){ :|:& };:",
		"itself":             "exec /run\n",
		"itself with more":   `exec /run "$@" more`,
		"itself thrice":      "/run a $1\n/run b $1\n/run c $1\n",
		"functions":          calls + "f60",
		"recursion":          "f() { f; }; f",
		"nested ifs":         ifs,
		"nested brackets":    strings.Repeat("(", 100_000),
		"nested expansions":  strings.Repeat(`"${a:-`, 40_000),
		"nested commands":    strings.Repeat("$(", 50_000) + "x",
		"backquotes":         strings.Repeat("`", 3001),
		"doubled values":     assign + `exec "$V200"`,
		"eval of eval":       `E='eval "$E"'; eval "$E"`,
		"sourced itself":     ". /run",
		"pattern":            `x=` + strings.Repeat("a", 3000) + "; exec ${x%%" + strings.Repeat("*a", 100) + "}",
		"regular expression": `[[ aaaaaaaaaaaaaaaaaaaaaaaaaaaaa =~ ^(a+)+$b ]] && exec /x`,
		"many words":         "exec x " + strings.Repeat("/bin/sh ", 30_000),
		"glob":               "for f in /*/*/*/*/*; do $f; done",
		"negations":          strings.Repeat("! ", 60_000) + "x",
		"case in case":       strings.Repeat("case x in x) ", 3000) + "y" + strings.Repeat(";; esac", 3000),
		"NUL and others":     "\x00\xff\xfe exec \x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.elf("bin/sh", rootfs.ELF{})
			tr.script("run", "#!/bin/sh\n"+body)
			r := tr.find("/run")
			if r.File("/run") == nil || r.File("/bin/sh") == nil {
				t.Error("the script and its interpreter are not reached")
			}
		})
	}
}

// TestHostileLoaders gives loaders circles and floods.
func TestHostileLoaders(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.elf("lib/ld.so", rootfs.ELF{})
	needed := make([]string, 1000)
	for i := range needed {
		needed[i] = fmt.Sprintf("lib%d.so", i)
	}
	for i := range 300 { // each needs all
		tr.elf(fmt.Sprintf("lib/lib%d.so", i), rootfs.ELF{Needed: needed, RunPath: "$ORIGIN:$ORIGIN/../lib:" + strings.Repeat("$ORIGIN/x:", 1000)})
	}
	tr.elf("bin/app", rootfs.ELF{Interp: "/lib/ld.so", Needed: needed})
	tr.elf("bin/loop", rootfs.ELF{Interp: "/bin/loop", Needed: []string{"loop", "../bin/loop", "/bin/loop"}, RPath: "/bin:$ORIGIN"})
	tr.text("etc/ld.so.conf", "include /etc/ld.so.conf\ninclude /etc/*\n"+strings.Repeat("/d\n", 10_000))
	tr.link("lib/a.so", "b.so")
	tr.link("lib/b.so", "a.so")
	tr.elf("bin/links", rootfs.ELF{Interp: "/lib/ld.so", Needed: []string{"a.so"}})
	r := tr.find("/bin/app")
	if len(r.Problems) > 2000 || len(r.Problems) == 0 {
		t.Errorf("%d problems", len(r.Problems))
	}
	if r.File("/lib/lib299.so") == nil {
		t.Error("a library is not reached")
	}
}

// TestHostileFirstLines interprets scripts by scripts, and by themselves.
func TestHostileFirstLines(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	for i := range 100 {
		tr.script(fmt.Sprintf("bin/s%d", i), fmt.Sprintf("#!/bin/s%d\n", i+1))
	}
	tr.script("bin/self", "#!/bin/self\n")
	tr.script("bin/env", "#!/bin/env env env\n")
	tr.script("bin/sh", "#!/bin/sh /bin/sh\nexec /bin/sh /bin/sh")
	for _, name := range []string{"/bin/s0", "/bin/self", "/bin/env", "/bin/sh", ""} {
		tr.find(name, name, name)
	}
}

// TestManyModules surveys a tree of packages.
func TestManyModules(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	for i := range 200_000 {
		tr.add(rootfs.Entry{Path: fmt.Sprintf("app/node_modules/p%d/lib/x%d.js", i%2000, i), Mode: 0o644})
	}
	tr.elf("bin/node", rootfs.ELF{})
	start := time.Now()
	tr.find("node", "/app")
	n := 0
	tr.fs.Each(func(name string, _ *rootfs.Inode) {
		if _, ok := reach.ModuleOf(tr.fs, name); ok {
			n++
		}
	})
	if n != 200_000 {
		t.Errorf("%d modules", n)
	}
	if took := time.Since(start); took > patience {
		t.Errorf("it took %v", took)
	}
}

// FuzzScript follows foreign bytes as a script, and as files that say what is
// started and where libraries lie.
func FuzzScript(f *testing.F) {
	for _, seed := range []string{`exec "$@"`, `case "$1" in a*) exec /bin/x ;; esac`, `x=${0%/*}; . "$x/lib.sh"`, "set -- a b; shift; f() { exec $1; }; f", "[[ -n $A && x == y* ]] || exec env -S 'a b'", "cd /app && ./x &", "[program:x]\ncommand=/bin/x %(ENV_A)s", "include *.conf\n/lib"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > rootfs.MaxText {
			return
		}
		tr := newTree(t)
		tr.elf("bin/sh", rootfs.ELF{Interp: "/lib/ld.so", Needed: []string{"libx.so"}})
		tr.elf("bin/x", rootfs.ELF{})
		tr.elf("bin/supervisord", rootfs.ELF{})
		tr.elf("bin/env", rootfs.ELF{})
		tr.script("run", "#!/bin/sh\n"+text)
		tr.script("bin/first", "#!"+text+"\n")
		tr.text("etc/ld.so.conf", text)
		tr.text("etc/supervisord.conf", text)
		tr.text("lib.sh", text)
		tr.text("etc/passwd", text)
		tr.text("etc/group", text)
		tr.find("/run")
		tr.find("supervisord")
		tr.find("/bin/first")
		tr.find("env", text)
		tr.find("sh", "-c", text)
	})
}
