package reach

import (
	"path"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// substitute is what a command prints, where that can be told without running
// it. What it starts is followed.
func (s *shell) substitute(list []*syntax.Stmt) value {
	b := s.clone()
	b.calls++
	if b.calls > maxCalls {
		return unknown
	}
	out := value{}
	for _, st := range list {
		out = b.prints(st)
		if b.done {
			break
		}
	}
	if len(list) != 1 {
		return unknown
	}
	return out.orUnknown()
}

func (v value) orUnknown() value {
	if len(v.alts) == 0 {
		return unknown
	}
	return v
}

// prints follows a statement and says what it prints.
func (s *shell) prints(st *syntax.Stmt) value {
	if bin, ok := st.Cmd.(*syntax.BinaryCmd); ok {
		if bin.Op == syntax.AndStmt { // cd DIR && pwd
			s.prints(bin.X)
			return s.prints(bin.Y)
		}
		if bin.Op == syntax.OrStmt {
			return s.prints(bin.X)
		}
		s.stmt(st)
		return unknown
	}
	c, ok := st.Cmd.(*syntax.CallExpr)
	if !ok || len(c.Args) == 0 {
		s.stmt(st)
		return unknown
	}
	argv := s.fields(c.Args)
	if len(argv) == 0 {
		return unknown
	}
	name, _ := argv[0].one()
	args := argv[1:]
	switch path.Base(name) {
	case "uname":
		return s.uname(args)
	case "arch":
		return value{alts: []string{s.g.unameMachine()}, machine: true}
	case "dpkg":
		if o, _ := first(args).one(); o == "--print-architecture" {
			return value{alts: []string{s.g.debianArchitecture()}, machine: true}
		}
	case "apk":
		if o, _ := first(args).one(); o == "--print-arch" {
			return value{alts: []string{s.g.alpineArchitecture()}, machine: true}
		}
	case "dirname":
		return last(args).each(path.Dir)
	case "basename":
		if len(args) == 2 {
			suffix, _ := args[1].one()
			return args[0].each(func(p string) string { return strings.TrimSuffix(path.Base(p), suffix) })
		}
		return last(args).each(path.Base)
	case "readlink", "realpath":
		return last(args).each(func(p string) string {
			if !strings.HasPrefix(p, "/") {
				if dir, ok := s.p.dir.one(); ok {
					p = path.Join(dir, p)
				}
			}
			if _, real := s.g.fs.Resolve(p, true); real != "" {
				return real
			}
			return p
		})
	case "pwd":
		return s.p.dir
	case "echo", "printf":
		if path.Base(name) == "printf" && len(args) > 1 {
			if format, _ := args[0].one(); format != "%s" && format != `%s\n` {
				return unknown
			}
			args = args[1:]
		}
		out := known("")
		for i, a := range args {
			if i > 0 {
				out = out.join(known(" "))
			}
			out = out.join(a)
		}
		return out
	case "which", "command", "type":
		p := s.p
		p.env = s.vars
		if n, ok := last(args).one(); ok {
			if at := s.g.find(p, n); at != "" {
				return known(at)
			}
			return known("")
		}
		return unknown
	}
	s.stmt(st)
	return unknown
}

func first(args []value) value {
	if len(args) == 0 {
		return unknown
	}
	return args[0]
}

func last(args []value) value {
	if len(args) == 0 {
		return unknown
	}
	return args[len(args)-1]
}

func (s *shell) uname(args []value) value {
	if len(args) == 0 {
		return known("Linux")
	}
	switch o, _ := args[0].one(); o {
	case "-m", "-p", "-i", "--machine":
		return value{alts: []string{s.g.unameMachine()}, machine: true}
	case "-s", "-o":
		return known("Linux")
	}
	return unknown
}
