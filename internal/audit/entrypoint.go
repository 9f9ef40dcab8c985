package audit

import (
	"debug/elf"
	"path"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// defaultPath is where runtimes look for programs if the image does not say.
// https://github.com/moby/moby/blob/master/oci/defaults.go
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxInterpreters bounds scripts that are interpreted by scripts. Linux
// follows four.
const maxInterpreters = 5

// shells run the command that follows -c.
var shells = []string{"sh", "bash", "ash", "dash", "zsh", "ksh"}

// wrappers run the command that follows, after options of their own.
var wrappers = []string{"tini", "tini-static", "dumb-init", "catatonit", "docker-init", "env"}

// judgeEntrypoint follows what the image starts: the program, its loader and
// libraries, the interpreters of scripts, and the programs it is told to start.
func (j *judgment) judgeEntrypoint() {
	c := j.config
	argv := append(slices.Clone(c.Entrypoint), c.Cmd...)
	if len(argv) == 0 || argv[0] == "" {
		return // a base, or files only
	}
	what := "the entrypoint"
	if len(c.Entrypoint) == 0 {
		what = "the command"
	}
	real, ok := j.command(argv[0], what, Error)
	if !ok {
		return
	}
	name := path.Base(argv[0])
	if slices.Contains(shells, name) && len(argv) > 2 && argv[1] == "-c" {
		j.shellCommand(argv[2])
		return
	}
	rest := argv[1:]
	if slices.Contains(wrappers, name) {
		wrapped, sure := wrappedCommand(rest)
		if len(wrapped) > 0 {
			severity := Warning
			if sure {
				severity = Error
			}
			j.command(wrapped[0], "what "+name+" starts", severity)
		}
		return
	}
	// A script hands over to its arguments as a rule.
	if n := j.fs.Lookup(real); n != nil && n.File != nil && n.File.Format == rootfs.FormatScript && len(c.Entrypoint) > 0 && len(c.Cmd) > 0 {
		if p := j.find(c.Cmd[0]); p != "" {
			j.program(p, "the command", 0)
		}
	}
	for _, arg := range rest {
		if !strings.HasPrefix(arg, "/") {
			continue
		}
		if n := j.fs.Lookup(arg); n != nil && n.IsFile() && n.Mode&0o111 != 0 && n.File != nil && (n.File.Format == rootfs.FormatELF || n.File.Format == rootfs.FormatScript) {
			j.program(arg, "an argument of "+what, 0)
		}
	}
}

// wrappedCommand finds the command among the arguments of a wrapper, and says
// whether that is sure.
func wrappedCommand(args []string) (command []string, sure bool) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[i+1:], true
	}
	sure = true
	for len(args) > 0 && (strings.HasPrefix(args[0], "-") || strings.Contains(args[0], "=")) {
		sure = false // an option may take the next argument
		args = args[1:]
	}
	return args, sure
}

// shellCommand looks at the first word of a shell's command, if it is plain.
func (j *judgment) shellCommand(line string) {
	words := strings.Fields(line)
	if len(words) > 0 && words[0] == "exec" {
		words = words[1:]
	}
	if len(words) == 0 || strings.ContainsAny(words[0], "$`|&;<>(){}*?~=\"'\\[]!#") {
		return
	}
	word := strings.TrimRight(words[0], ";")
	if strings.HasPrefix(word, "/") {
		j.command(word, "the shell's command", Warning)
		return
	}
	if p := j.find(word); p != "" { // else it may be the shell's own
		j.program(p, "the shell's command", 0)
	}
}

// command finds a program as the runtime would and judges it.
func (j *judgment) command(name, what string, severity Severity) (real string, ok bool) {
	at := name
	if !strings.Contains(name, "/") {
		if at = j.find(name); at == "" {
			if j.incomplete == "" {
				j.add(severity, "entrypoint-missing", name, nil, "%s is %q, which is in none of the directories of PATH (%s)", what, name, j.path())
			}
			return "", false
		}
	} else if !strings.HasPrefix(name, "/") {
		at = path.Join("/", j.config.WorkingDir, name)
	}
	if j.fs.Lookup(at) == nil {
		if j.incomplete == "" {
			message := "%s is %q, which is not in the image"
			if link, _ := j.fs.Resolve(at, false); link != nil {
				message += ": it is " + link.String()
			}
			j.add(severity, "entrypoint-missing", at, nil, message, what, name)
		}
		return "", false
	}
	return at, j.program(at, what, 0)
}

// path is the PATH of the image.
func (j *judgment) path() string {
	for _, e := range j.config.Env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			return p
		}
	}
	return defaultPath
}

// find looks a program up in the PATH; "" if it is in none of its directories.
func (j *judgment) find(name string) string {
	if strings.Contains(name, "/") {
		if j.fs.Lookup(name) != nil {
			return name
		}
		return ""
	}
	unfit := ""
	for dir := range strings.SplitSeq(j.path(), ":") {
		if !strings.HasPrefix(dir, "/") {
			dir = path.Join("/", j.config.WorkingDir, dir)
		}
		p := path.Join(dir, name)
		n := j.fs.Lookup(p)
		switch {
		case n == nil || !n.IsFile():
		case n.Mode&0o111 != 0:
			return p
		case unfit == "":
			unfit = p
		}
	}
	return unfit
}

// program judges a file that will be started. It tells whether that can work.
func (j *judgment) program(name, what string, depth int) bool {
	n, real := j.fs.Resolve(name, true)
	if n == nil || depth > maxInterpreters {
		return false
	}
	if j.programs[real] {
		return true
	}
	j.programs[real] = true
	switch {
	case n.Kind == rootfs.KindDir:
		j.add("", "entrypoint-not-executable", name, n, "%s is a directory", what)
		return false
	case !n.IsFile():
		return true // a device: odd, and none of our business
	case n.Mode&0o111 == 0:
		j.add("", "entrypoint-not-executable", name, n, "%s has no execute bit (its mode is %04o)", what, n.Mode.Perm())
	}
	if n.File == nil || n.File.Format == rootfs.FormatOther {
		j.add("", "entrypoint-not-executable", name, n, "%s is neither a program nor a script with a #! line: starting it fails with \"exec format error\"", what)
		return false
	}
	switch f := n.File; f.Format {
	case rootfs.FormatELF:
		if j.main == nil || j.main.Format == rootfs.FormatScript {
			j.main, j.mainPath = f, real
		}
		return j.elfProgram(real, n, what)
	case rootfs.FormatScript:
		if j.main == nil {
			j.main, j.mainPath = f, real
		}
		return j.script(real, n, depth)
	case rootfs.FormatWasm:
		j.add(Warning, "foreign-format", real, n, "%s is WebAssembly, the image says %s", what, j.node.Platform)
	default:
		j.add("", "foreign-format", real, n, "%s is a %s program, the image is for %s", what, systemOf(f), j.platform.OS)
	}
	return false
}

func systemOf(f *rootfs.File) string {
	switch f.Format {
	case rootfs.FormatMachO:
		return "macOS"
	case rootfs.FormatPE:
		return "Windows"
	}
	return string(f.Format)
}

// elfProgram judges an ELF file that will be started, with what it needs.
func (j *judgment) elfProgram(name string, n *rootfs.Inode, what string) bool {
	e := n.File.ELF
	if e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		j.add("", "entrypoint-not-executable", name, n, "%s is an object file, not a program", what)
		return false
	}
	if goos := e.GoSettings["GOOS"]; goos != "" && goos != j.platform.OS {
		j.add("", "foreign-format", name, n, "%s is a program for %s, the image is for %s", what, goos, j.platform.OS)
		return false
	}
	if !j.fits(name, n, what) {
		return false
	}
	if e.Interp == "" {
		return true
	}
	ok := j.loader(name, n, Error)
	names := j.libraryNames(e)
	for _, lib := range e.Needed {
		if names(lib) || j.incomplete != "" {
			continue
		}
		severity := Error
		if injected(lib) {
			severity = Note
		}
		j.add(severity, "library-missing", name, n, "%s needs %s, which is nowhere in the image", what, lib)
		ok = false
	}
	return ok
}

// loader judges the dynamic loader of a file.
func (j *judgment) loader(name string, n *rootfs.Inode, severity Severity) bool {
	e := n.File.ELF
	at := e.Interp
	if !strings.HasPrefix(at, "/") {
		at = path.Join("/", j.config.WorkingDir, at)
	}
	l, real := j.fs.Resolve(at, true)
	if l == nil {
		if j.incomplete == "" {
			hint := "is the image of another C library, or of none?"
			if rootfs.LibC(e.Interp) == "glibc" && j.fs.Lookup("/lib/ld-musl-"+muslArch(e)+".so.1") != nil {
				hint = "it was linked against glibc, and the image has musl"
			} else if rootfs.LibC(e.Interp) == "musl" && j.fs.Lookup("/lib64/ld-linux-x86-64.so.2") != nil {
				hint = "it was linked against musl, and the image has glibc"
			} else if j.fs.Lookup("/lib") == nil && j.fs.Lookup("/usr/lib") == nil {
				hint = "the image has no libraries at all, so its programs must be static"
			}
			j.add(severity, "interpreter-missing", name, n, "its loader %s is not in the image, so starting it fails with \"no such file or directory\"; %s", e.Interp, hint)
		}
		return false
	}
	if l.File != nil && l.File.ELF != nil && severity == Error {
		return j.fits(real, l, "the loader of "+name)
	}
	return true
}

func muslArch(e *rootfs.ELF) string {
	switch e.Architecture() {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "386":
		return "i386"
	}
	return e.Architecture()
}

// injected knows libraries that container runtimes bring from the host.
// https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/
func injected(lib string) bool {
	return strings.HasPrefix(lib, "libcuda.so") || strings.HasPrefix(lib, "libnvidia-") || strings.HasPrefix(lib, "libnvcuvid.so") ||
		strings.HasPrefix(lib, "libnvoptix") || strings.HasPrefix(lib, "libGLX_nvidia") || strings.HasPrefix(lib, "libEGL_nvidia")
}

// libraryNames returns a function that tells whether a library is anywhere in
// the image. Where the loader looks depends on its configuration, so a file of
// the name is enough.
func (j *judgment) libraryNames(e *rootfs.ELF) func(string) bool {
	var all map[string]bool
	return func(lib string) bool {
		if strings.Contains(lib, "/") {
			return j.fs.Lookup(lib) != nil
		}
		if strings.HasPrefix(lib, "libc.musl-") || strings.HasPrefix(lib, "ld-") || lib == path.Base(e.Interp) {
			return true // the loader itself, judged as such
		}
		if strings.Contains(e.Interp, "ld-musl") && lib == "libc.so" {
			return true
		}
		if all == nil {
			all = j.fs.Names()
		}
		return all[lib]
	}
}

// script judges the interpreter that a script's first line names.
func (j *judgment) script(name string, n *rootfs.Inode, depth int) bool {
	fail := func(format string, args ...any) bool {
		if j.incomplete == "" {
			j.add("", "script-interpreter", name, n, format, args...)
		}
		return false
	}
	line := n.File.Shebang
	if strings.HasSuffix(line, "\r") {
		return fail("its first line ends with a carriage return, so the kernel looks for %q", strings.Fields(line + " ")[0]+`\r`)
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return fail("its first line names no interpreter")
	}
	interpreter := words[0]
	if j.fs.Lookup(interpreter) == nil {
		return fail("its interpreter %s is not in the image, so starting it fails with \"no such file or directory\"", interpreter)
	}
	if !j.program(interpreter, "the interpreter of "+name, depth+1) {
		return false
	}
	if path.Base(interpreter) != "env" {
		return true
	}
	args := slices.DeleteFunc(slices.Clone(words[1:]), func(w string) bool { return strings.HasPrefix(w, "-") || strings.Contains(w, "=") })
	if len(args) == 0 {
		return true
	}
	p := j.find(args[0])
	if p == "" {
		return fail("it is run by %q, which is in none of the directories of PATH (%s)", args[0], j.path())
	}
	return j.program(p, "the interpreter of "+name, depth+1)
}
