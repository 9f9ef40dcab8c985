package reach

import (
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// start follows a command line.
func (g *graph) start(p process, argv []value) {
	if len(argv) == 0 || p.depth > maxDepth || g.steps <= 0 {
		return
	}
	g.steps--
	p.depth++
	first := argv[0]
	if first.open || len(first.alts) != 1 {
		p.sure = false
	}
	for _, name := range first.alts {
		if name != "" {
			g.startOne(p, name, argv[1:])
		}
	}
}

// startOne follows a command whose name is known.
func (g *graph) startOne(p process, name string, args []value) {
	at := g.find(p, name)
	if at == "" {
		g.missing(p, name)
		return
	}
	n, real := g.fs.Resolve(at, true)
	p.at = p.at.then(at)
	if real != at && n != nil {
		p.at = p.at.then(real)
	}
	if !g.startable(p, at, real, n) {
		return
	}
	way := Started
	if p.what == interpreterOf {
		way = Interpreter
	}
	f := g.add(p, real, n, way)
	switch n.File.Format {
	case rootfs.FormatELF:
		if p.sure && (g.out.Program == nil || g.out.Program.Inode.File.Format == rootfs.FormatScript) {
			g.out.Program = f
		}
		g.load(p, real, n)
		g.arguments(p, path.Base(name), path.Base(real), args)
	case rootfs.FormatScript:
		if g.out.Program == nil {
			g.out.Program = f
		}
		g.interpreter(p, at, real, n, args)
		g.arguments(p, path.Base(name), path.Base(real), args)
	case rootfs.FormatOther:
		if p.shell && len(n.File.Text) > 0 { // a shell runs it itself
			g.script(p, at, n, args)
		}
	}
}

// startable says why a file cannot be started.
func (g *graph) startable(p process, at, real string, n *rootfs.Inode) bool {
	fail := func(format string, args ...any) bool {
		g.problem(p, Problem{Kind: NotExecutable, Path: at, Inode: n, Message: p.what + " " + fmt.Sprintf(format, args...)})
		return false
	}
	switch {
	case n.Kind == rootfs.KindDir:
		return fail("is a directory")
	case !n.IsFile():
		return false // a device: odd, and nothing to follow
	case n.Mode&0o111 == 0:
		fail("has no execute bit (its mode is %04o)", n.Mode.Perm())
	default:
		if where, o := g.obstacle(p.user, real, n); where != "" {
			what := "it"
			if where != real {
				what = where
			}
			fail("may not be executed by its user (uid %d, gid %d): %s belongs to uid %d, gid %d and has mode %04o", p.user.uid, p.user.gid, what, o.UID, o.GID, o.Mode.Perm())
		}
	}
	switch {
	case n.File == nil, n.File.Format == rootfs.FormatOther:
		if p.shell {
			return n.File != nil
		}
		return fail("is neither a program nor a script with a #! line: starting it fails with \"exec format error\"")
	case n.File.Format == rootfs.FormatELF && n.File.ELF.Type != elf.ET_EXEC && n.File.ELF.Type != elf.ET_DYN:
		return fail("is an object file, not a program")
	}
	return true
}

// missing says that a program is not there, where that is sure.
func (g *graph) missing(p process, name string) {
	if !p.sure {
		return
	}
	p.sure = !p.soft
	problem := Problem{Kind: NoProgram, Path: name}
	switch {
	case !strings.Contains(name, "/"):
		list := strings.Join(p.env["PATH"].alts, " or ")
		problem.Message = fmt.Sprintf("%s is %q, which is in none of the directories of PATH (%s)", p.what, name, list)
		if p.what == interpreterOf {
			problem.Message = fmt.Sprintf("it is run by %q, which is in none of the directories of PATH (%s)", name, list)
			if strings.ContainsAny(name, " \t") {
				problem.Evidence = append(problem.Evidence, "Linux hands all that follows the interpreter over as one argument; env divides it after -S: #!/usr/bin/env -S "+name)
			}
		}
	default:
		at := name
		if !strings.HasPrefix(name, "/") {
			dir, ok := p.dir.one()
			if !ok {
				return
			}
			at = path.Join(dir, name)
		}
		problem.Path = at
		problem.Message = fmt.Sprintf("%s is %q, which is not in the image", p.what, name)
		if link, _ := g.fs.Resolve(at, false); link != nil {
			problem.Message += ": it is " + link.String()
		}
		if p.what == interpreterOf {
			problem.Message = fmt.Sprintf("its interpreter %s is not in the image, so starting it fails with \"no such file or directory\"", name)
		}
	}
	if p.what == interpreterOf {
		problem.Kind = NoInterpreter
	}
	g.problem(p, problem)
}

// find looks a program up as execvp does; "" if it is not there.
func (g *graph) find(p process, name string) string {
	if len(name) > maxWord {
		return ""
	}
	if strings.HasPrefix(name, "/") {
		if g.fs.Lookup(name) != nil {
			return path.Clean(name)
		}
		return ""
	}
	if strings.Contains(name, "/") {
		// Scripts that name a neighbour go to their own directory first, as a
		// rule.
		for _, dir := range append(slices.Clone(p.dir.alts), path.Join("/", g.image.WorkingDir), p.scriptDir) {
			if at := path.Join("/", dir, name); dir != "" && g.fs.Lookup(at) != nil {
				return at
			}
		}
		return ""
	}
	unfit := ""
	for _, list := range p.env["PATH"].alts {
		for dir := range strings.SplitSeq(list, ":") {
			if !strings.HasPrefix(dir, "/") {
				dir = path.Join("/", g.image.WorkingDir, dir)
			}
			at := path.Join(dir, name)
			n := g.fs.Lookup(at)
			switch {
			case n == nil || !n.IsFile():
			case n.Mode&0o111 != 0:
				return at
			case unfit == "":
				unfit = at
			}
		}
	}
	if unfit == "" && (p.shell || p.what == interpreterOf) && g.s6() && g.fs.Lookup("/command/"+name) != nil {
		return "/command/" + name // where s6-overlay's init looks as well
	}
	return unfit
}

// interpreterOf is what an interpreter is called in messages.
const interpreterOf = "the interpreter"

// interpreter follows the first line of a script as Linux reads it: an
// interpreter and at most one argument. Without args, nothing but that is
// followed.
func (g *graph) interpreter(p process, at, real string, n *rootfs.Inode, args []value) {
	line := n.File.Shebang
	fail := func(format string, a ...any) {
		g.problem(p, Problem{Kind: NoInterpreter, Path: real, Inode: n, Message: fmt.Sprintf(format, a...)})
	}
	interpreter, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	rest = strings.Trim(rest, " ")
	if interpreter == "" || interpreter == "\r" {
		fail("its first line names no interpreter")
		return
	}
	looked := g.find(process{dir: p.dir}, interpreter)
	if looked == "" {
		if strings.HasSuffix(line, "\r") {
			fail("its first line ends with a carriage return, so the kernel looks for %q", strings.TrimSuffix(interpreter, "\r")+`\r`)
			return
		}
		fail("its interpreter %s is not in the image, so starting it fails with \"no such file or directory\"", interpreter)
		return
	}
	if strings.HasSuffix(rest, "\r") && path.Base(interpreter) != "env" {
		fail("its first line ends with a carriage return, so %s is given the argument %q", interpreter, strings.TrimSuffix(rest, "\r")+`\r`)
		return
	}
	q := p
	q.what, q.at, q.shell = interpreterOf, p.at.then("#! line"), false
	argv := []value{known(interpreter)}
	if rest != "" {
		argv = append(argv, known(rest))
	}
	if p.onPath { // what it would be told to do is not known
		if path.Base(interpreter) == "env" {
			g.envOnly(q, real, n, rest)
		}
		if in, where := g.fs.Resolve(looked, true); in != nil && in.IsFile() {
			q.at = q.at.then(where)
			g.add(q, where, in, Interpreter)
		}
		return
	}
	problems := len(g.out.Problems)
	g.start(q, append(append(argv, known(at)), args...))
	for i := problems; i < len(g.out.Problems); i++ { // they are the script's
		if o := &g.out.Problems[i]; o.Kind == NoInterpreter && o.Inode == nil {
			o.Path, o.Inode = real, n
		}
	}
}

// envOnly looks for the program that env is told to start by a script in PATH.
func (g *graph) envOnly(p process, real string, n *rootfs.Inode, rest string) {
	argv := []value{known(rest)}
	w := wrappers["env"](p, argv)
	if len(w.argv) == 0 {
		return
	}
	name, ok := w.argv[0].one()
	if !ok || g.find(w.process, name) != "" || g.find(process{env: map[string]value{"PATH": known(defaultPath)}}, name) != "" {
		return
	}
	g.problem(p, Problem{Kind: NoInterpreter, Path: real, Inode: n, Message: fmt.Sprintf("it is run by %q, which is in none of the directories of PATH (%s)", strings.ReplaceAll(name, "\r", `\r`), strings.Join(w.process.env["PATH"].alts, " or "))})
}

// arguments follows what a program does with its arguments. It is known by the
// name it was started as, or else by its own.
func (g *graph) arguments(p process, name, real string, args []value) {
	if name == "busybox" || name == "toybox" {
		if len(args) == 0 {
			return
		}
		applet, ok := args[0].one()
		if !ok {
			return
		}
		name, args = applet, args[1:]
	}
	for _, base := range []string{name, real} {
		if base == "init" && real == "systemd" {
			continue
		}
		if g.runShell(p, base, args) || g.runWrapper(p, base, args) || g.runService(p, base, args) {
			return
		}
	}
	if kind := g.runtime(p, name, real); kind != "" {
		g.hosted(p, kind)
		g.code(p, kind, args)
		return
	}
	g.guess(p, name, args)
}

// runWrapper follows what a wrapper starts.
func (g *graph) runWrapper(p process, base string, args []value) bool {
	w := wrappers[base]
	if isLoader(base) {
		w = loaded
	}
	if w == nil {
		return false
	}
	if p.what != interpreterOf {
		p.what = "what " + base + " starts"
	}
	out := w(p, args)
	if out.user != "" {
		out.process.user = g.account(out.user)
		if out.user == "?" {
			out.process.user = nil
		}
	}
	if out.script != nil { // su -c
		g.text(out.process, *out.script, "", nil)
		return true
	}
	g.start(out.process, out.argv)
	return true
}

// runtimes are the interpreters that load native modules, by the names of
// their programs without version.
var runtimes = map[string]string{
	"node": "node", "nodejs": "node", "bun": "node", "deno": "node", "npm": "node", "yarn": "node", "pnpm": "node", "npx": "node",
	"python": "python", "pypy": "python", "gunicorn": "python", "uvicorn": "python", "celery": "python",
	"java": "java", "perl": "perl", "ruby": "ruby", "rails": "ruby", "puma": "ruby",
	"php": "php", "php-fpm": "php", "php-cgi": "php", "frankenphp": "php", "nginx": "nginx", "openresty": "nginx", "apache2": "apache", "httpd": "apache",
	"postgres": "postgres", "redis-server": "redis", "valkey-server": "redis", "mysqld": "mysql", "mariadbd": "mysql",
	"erl": "erlang", "beam.smp": "erlang", "R": "R", "Rscript": "R", "dotnet": "dotnet", "lua": "lua", "luajit": "lua",
}

// hosted remembers the program of an interpreter.
func (g *graph) hosted(p process, kind string) {
	if _, ok := g.hosts[kind]; ok || p.at == nil {
		return
	}
	n, real := g.fs.Resolve(p.at.text, true)
	if n != nil && n.IsFile() && n.File != nil && n.File.ELF != nil && n.File.ELF.Architecture() == g.image.Platform.Architecture {
		g.hosts[kind] = host{p, real, n}
	}
}

// runtime remembers an interpreter that is started.
func (g *graph) runtime(p process, names ...string) string {
	for _, name := range names {
		kind := runtimes[strings.TrimRight(name, "0123456789.-")]
		if kind == "" {
			kind = runtimes[name]
		}
		if kind != "" {
			if g.out.Interpreters[kind] == nil {
				g.out.Interpreters[kind] = p.at.chain()
			}
			return kind
		}
	}
	return ""
}

// guess follows the arguments of a program that is not known, where they are
// programs: it may be a wrapper. Emulators are meant to start foreign ones.
func (g *graph) guess(p process, name string, args []value) {
	for _, emulator := range []string{"qemu-", "box64", "box86", "wine", "FEX"} {
		if strings.HasPrefix(name, emulator) {
			return
		}
	}
	p.sure, p.what = false, "an argument of "+name
	p.at = p.at.then("its argument")
	for i, arg := range args {
		s, ok := arg.one()
		if !ok || i >= 64 {
			continue
		}
		if s == "--" && i+1 < len(args) {
			if next, ok := args[i+1].one(); ok && g.find(p, next) != "" {
				g.start(p, args[i+1:])
			}
			return
		}
		if first, _, ok := strings.Cut(s, " "); ok && strings.Contains(first, "/") && g.find(p, first) != "" {
			g.start(p, g.commandLine(p, s)) // one for a shell
			continue
		}
		if _, file, ok := strings.Cut(s, "="); ok && strings.HasPrefix(s, "-") && strings.HasPrefix(file, "/") {
			g.mentioned(p, file)
		}
		g.library(p, s)
		if !strings.HasPrefix(s, "/") {
			if i > 0 || strings.Contains(s, ".") {
				if at := g.findScript(p, s); at != "" {
					g.mentioned(p, at)
				}
			}
			continue
		}
		if n := g.fs.Lookup(s); n != nil && n.IsFile() && n.Mode&0o111 != 0 && n.File != nil && (n.File.Format == rootfs.FormatELF || n.File.Format == rootfs.FormatScript) {
			g.start(p, args[i:])
			return
		}
		g.mentioned(p, s)
	}
}
