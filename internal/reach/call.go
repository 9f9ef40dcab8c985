package reach

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// maxCalls bounds functions that call each other.
const maxCalls = 20

// call follows a simple command.
func (s *shell) call(c *syntax.CallExpr) truth {
	if len(c.Args) == 0 {
		for _, a := range c.Assigns {
			s.set(a)
		}
		return truth{known: true, yes: true}
	}
	argv := s.fields(c.Args)
	if len(argv) == 0 {
		return truth{}
	}
	run := s
	if len(c.Assigns) > 0 { // for this command alone
		run = s.clone()
		for _, a := range c.Assigns {
			run.set(a)
		}
	}
	name, ok := argv[0].one()
	if ok {
		if body := s.funcs[name]; body != nil {
			return s.function(body, argv[1:])
		}
		if t, handled := s.builtin(run, name, argv[1:], int(c.Pos().Line())); handled {
			return t
		}
	}
	run.start(argv, int(c.Pos().Line()))
	return truth{}
}

// makers are commands that may put programs where an image has none.
var makers = []string{"curl", "wget", "git", "tar", "unzip", "gunzip", "xz", "zstd", "cp", "mv", "ln", "install", "rsync", "dd", "pip", "pip3", "python", "python3", "npm", "yarn", "apt-get", "apk", "dnf", "make", "go", "cargo", "aws", "gsutil", "steamcmd", "mount", "base64"}

// start starts a program from a line of the script.
func (s *shell) start(argv []value, line int) {
	p := s.p
	p.env = maps.Clone(s.vars)
	p.shell, p.stdin = true, s.stdin
	p.what = fmt.Sprintf("what line %d of %s starts", line, s.name)
	p.at = s.p.at.then(fmt.Sprintf("line %d", line))
	// Whether a command that is not there ends the script is not known, unless
	// it is the last one.
	p.soft = !s.exec
	if name, ok := argv[0].one(); ok {
		if strings.Contains(name, "/") && s.g.made {
			p.soft = true // it may be made by then
		}
		s.g.made = s.g.made || slices.Contains(makers, path.Base(name))
	}
	if name, ok := argv[0].one(); ok && !s.exec && !(s.last && strings.Contains(name, "/")) && s.g.find(p, name) == "" {
		return
	}
	s.g.start(p, argv)
}

// function follows a function's body with its own arguments.
func (s *shell) function(body *syntax.Stmt, args []value) truth {
	if s.calls >= maxCalls {
		return truth{}
	}
	b := s.clone()
	b.calls++
	b.args, b.known = args, true
	t := b.stmt(body)
	s.vars, s.p.dir = b.vars, b.p.dir
	if b.done && b.exec {
		s.done, s.exec = true, true
	}
	if b.done {
		return truth{}
	}
	return t
}

// builtin follows what the shell does itself. run has the variables that are
// set for this command.
func (s *shell) builtin(run *shell, name string, args []value, line int) (t truth, handled bool) {
	first := ""
	if len(args) > 0 {
		first, _ = args[0].one()
	}
	yes := truth{known: true, yes: true, sure: true}
	switch name {
	case ":", "true":
		return yes, true
	case "false":
		return yes.not(), true
	case "[":
		if len(args) > 0 {
			args = args[:len(args)-1]
		}
		return s.condition(args), true
	case "test":
		return s.condition(args), true
	case "exit":
		s.done, s.exec = true, true
	case "return", "break", "continue":
		s.done = true
	case "cd", "pushd":
		s.chdir(args)
		return truth{known: true, yes: true}, true
	case "export", "local", "readonly", "declare", "typeset":
		for _, a := range args {
			for _, assignment := range a.alts {
				if k, v, ok := strings.Cut(assignment, "="); ok {
					s.vars[k] = known(v)
				}
			}
		}
	case "unset":
		s.vars[first] = known("")
	case "set":
		s.setArgs(args)
	case "shift":
		n := 1
		if i, err := strconv.Atoi(first); err == nil {
			n = i
		}
		if n >= 0 {
			s.args = s.args[min(n, len(s.args)):]
		}
	case "read", "getopts", "mapfile", "readarray":
		for _, a := range args {
			for _, v := range a.alts {
				s.vars[v] = unknown
			}
		}
	case "eval":
		s.eval(args, line)
	case ".", "source":
		s.source(args, line)
	case "exec":
		argv, _ := options(args, "a", nil, nil)
		if len(argv) == 0 {
			return yes, true // redirections
		}
		run.exec = true
		run.start(argv, line)
		s.done, s.exec = true, true
	case "command", "builtin", "type", "which", "hash":
		if first == "-v" || first == "-V" || name == "type" || name == "which" || name == "hash" {
			return s.has(args), true
		}
		argv, _ := options(args, "", nil, nil)
		if len(argv) > 0 {
			if inner, ok := argv[0].one(); ok {
				if t, handled := s.builtin(run, inner, argv[1:], line); handled {
					return t, true
				}
			}
			run.start(argv, line)
		}
	case "printf":
		if first == "-v" && len(args) == 4 {
			if name, ok := args[1].one(); ok {
				s.vars[name] = unknown
				if format, _ := args[2].one(); format == "%s" {
					s.vars[name] = args[3]
				}
			}
		}
	case "trap", "echo", "umask", "ulimit", "wait", "kill", "alias", "unalias", "let", "jobs", "shopt", "pwd", "times", "bg", "fg", "popd", "dirs", "compgen", "complete", "enable":
	default:
		return truth{}, false
	}
	return truth{}, true
}

// has reports whether programs are in PATH.
func (s *shell) has(args []value) truth {
	for _, a := range args {
		name, ok := a.one()
		if !ok {
			return truth{}
		}
		if strings.HasPrefix(name, "-") {
			continue
		}
		p := s.p
		p.env = s.vars
		found := s.funcs[name] != nil || s.g.find(p, name) != ""
		if t, ok := s.vars["PATH"]; ok && t.open {
			return truth{}
		}
		return truth{known: true, yes: found, sure: true}
	}
	return truth{}
}

func (s *shell) chdir(args []value) {
	argv, _ := options(args, "", nil, nil)
	if len(argv) == 0 {
		s.p.dir = unknown
		return
	}
	to := argv[0]
	out := value{open: to.open}
	for _, d := range to.alts {
		switch {
		case strings.HasPrefix(d, "/"):
			out = out.merge(known(path.Clean(d)))
		case d == "-":
			out = out.merge(unknown)
		default:
			out = out.merge(s.p.dir.each(func(dir string) string { return path.Join("/", dir, d) }))
		}
	}
	s.p.dir = out
}

// setArgs follows `set -- …`.
func (s *shell) setArgs(args []value) {
	for i := 0; i < len(args); i++ {
		word, ok := args[i].one()
		if !ok {
			s.args = args[i:]
			return
		}
		switch {
		case word == "--" || word == "-":
			s.args = args[i+1:]
			return
		case len(word) > 1 && (word[0] == '-' || word[0] == '+'):
			if strings.HasSuffix(word, "o") {
				i++
			}
		default:
			s.args = args[i:]
			return
		}
	}
}

func (s *shell) eval(args []value, line int) {
	var words []string
	for _, a := range args {
		w, ok := a.one()
		if !ok {
			return
		}
		words = append(words, w)
	}
	file, err := parse(strings.Join(words, " "))
	if err != nil || s.calls >= maxCalls {
		return
	}
	b := *s
	b.calls++
	b.p.at = s.p.at.then(fmt.Sprintf("line %d", line))
	b.stmts(file.Stmts)
	calls, p := s.calls, s.p
	*s = b
	s.calls, s.p.at = calls, p.at
}

// source follows a script that runs in this shell.
func (s *shell) source(args []value, line int) {
	if len(args) == 0 || s.calls >= maxCalls {
		return
	}
	for _, name := range args[0].alts {
		p := s.p
		p.env = s.vars
		at := s.g.findScript(p, name)
		n := s.g.fs.Lookup(at)
		if at == "" || n == nil || n.File == nil || len(n.File.Text) == 0 {
			continue
		}
		file, err := parse(string(n.File.Text))
		if err != nil {
			continue
		}
		b := s.clone()
		b.calls++
		b.file = at
		b.p.at = s.p.at.then(fmt.Sprintf("line %d", line), at)
		if len(args) > 1 {
			b.args = args[1:]
		}
		b.stmts(file.Stmts)
		b.calls = s.calls
		s.vars, s.p.dir = b.vars, b.p.dir
		if len(args) == 1 {
			s.args = b.args
		}
		if b.done && b.exec {
			s.done, s.exec = true, true
		}
	}
}

// maxGlob bounds the files that one pattern stands for.
const maxGlob = 64

// glob is the files that a pattern stands for, the pattern itself if there are
// none.
func (s *shell) glob(pattern string) []string {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}
	}
	dir, ok := s.p.dir.one()
	if !strings.HasPrefix(pattern, "/") && !ok {
		return []string{pattern}
	}
	full := pattern
	if !strings.HasPrefix(pattern, "/") {
		full = path.Join(dir, pattern)
	}
	if out := Glob(s.g.fs, full, maxGlob); len(out) > 0 {
		return out
	}
	return []string{pattern}
}

// Glob returns the files of an image that a pattern of path.Match stands for, at
// most so many, in order.
func Glob(fs *rootfs.FS, pattern string, most int) []string {
	found := []string{"/"}
	for part := range strings.SplitSeq(strings.Trim(path.Clean(pattern), "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, "*?[") {
				if at := path.Join(dir, part); fs.Lookup(at) != nil {
					next = append(next, at)
				}
				continue
			}
			n := fs.Lookup(dir)
			if n == nil {
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(n.Children)) {
				if ok, err := path.Match(part, name); err == nil && ok && len(next) < most {
					next = append(next, path.Join(dir, name))
				}
			}
		}
		found = next
	}
	return found
}
