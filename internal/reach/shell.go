package reach

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/archmage-build/archmage/internal/rootfs"
)

// shellNames are the programs that run scripts of the shell's language.
var shellNames = []string{"sh", "bash", "ash", "dash", "zsh", "ksh", "mksh", "rbash", "lksh", "yash"}

// runShell follows what a shell is told: the command after -c, or a script.
func (g *graph) runShell(p process, base string, args []value) bool {
	if base == "execlineb" {
		g.execline(p, args)
		return true
	}
	if !slices.Contains(shellNames, base) {
		return false
	}
	command := false
	for len(args) > 0 {
		word, ok := args[0].one()
		if !ok || word == "" || word[0] != '-' && word[0] != '+' || word == "-" {
			break
		}
		args = args[1:]
		if word == "--" {
			break
		}
		if strings.HasPrefix(word, "--") {
			if word == "--rcfile" || word == "--init-file" {
				args = args[min(1, len(args)):]
			}
			continue
		}
		command = command || word[0] == '-' && strings.Contains(word, "c")
		if strings.HasSuffix(word, "o") || strings.HasSuffix(word, "O") { // -o pipefail
			args = args[min(1, len(args)):]
		}
	}
	if len(args) == 0 {
		if text, ok := p.stdin.one(); ok && text != "" {
			p.at = p.at.then("standard input")
			g.text(p, text, base, nil)
		}
		return true
	}
	if command {
		for _, line := range args[0].alts {
			q := p
			q.sure = p.sure && len(args[0].alts) == 1
			q.at = p.at.then("-c")
			name, rest := base, []value(nil)
			if len(args) > 1 {
				name, _ = args[1].one()
				rest = args[2:]
			}
			g.text(q, line, name, rest)
		}
		return true
	}
	for _, name := range args[0].alts {
		at := g.findScript(p, name)
		if at == "" {
			q := p
			q.sure = p.sure && strings.HasPrefix(name, "/")
			if q.what == interpreterOf {
				continue
			}
			q.what = "the script"
			g.missing(q, name)
			continue
		}
		n := g.fs.Lookup(at)
		if n.File != nil && n.File.Format != rootfs.FormatELF {
			q := p
			if p.what != interpreterOf {
				q.at = p.at.then("script", at)
			}
			g.script(q, at, n, args[1:])
		}
	}
	return true
}

// findScript looks a script up as a shell does.
func (g *graph) findScript(p process, name string) string {
	q := p
	if !strings.Contains(name, "/") {
		q.env = map[string]value{"PATH": known(".")}
		for _, dir := range p.dir.alts {
			if at := path.Join("/", dir, name); g.fs.Lookup(at) != nil {
				return at
			}
		}
		q.env = p.env
	}
	return g.find(q, name)
}

// script follows a shell script.
func (g *graph) script(p process, at string, n *rootfs.Inode, args []value) {
	if n.File == nil {
		return
	}
	path, _ := p.env["PATH"].one()
	key := at + "\x00" + path + "\x00" + text(args)
	if g.visited[key] {
		return
	}
	g.visited[key] = true
	if n.File.Cut {
		g.problem(p, Problem{Kind: NotUnderstood, Path: at, Inode: n, Message: fmt.Sprintf("the script is longer than the %d bytes that are read of one, or there are many: what it starts was not followed to its end", rootfs.MaxText)})
	}
	p.scriptDir = dirOf(at)
	g.text(p, string(n.File.Text), at, args)
}

func dirOf(at string) string { return path.Dir(at) }

// shell is the state of one script as it is followed.
type shell struct {
	g      *graph
	p      process // its environment is in vars
	name   string  // $0
	file   string  // that is being read
	stdin  value   // of the next command
	vars   map[string]value
	args   []value
	known  bool // what args are
	arrays map[string][]value
	funcs  map[string]*syntax.Stmt
	// final is the last statement, whose result is the script's.
	final *syntax.Stmt
	last  bool // it is being run
	// done reports whether nothing after this is run: exec, exit, return.
	done  bool
	exec  bool // by exec or exit
	calls int
}

// text follows the text of a script whose name is $0.
func (g *graph) text(p process, source, name string, args []value) {
	if p.depth > maxDepth || g.steps <= 0 {
		return
	}
	p.depth++
	p.shell = true
	file, err := parse(source)
	if err != nil {
		g.problem(p, Problem{Kind: NotUnderstood, Path: name, Message: fmt.Sprintf("the body of the script could not be understood, so that only the programs it names by their paths are known: %v", err)})
		g.scan(p, source)
		return
	}
	s := &shell{g: g, p: p, name: name, file: name, vars: maps.Clone(p.env), args: args, known: true, funcs: map[string]*syntax.Stmt{}, arrays: map[string][]value{}}
	if len(file.Stmts) > 0 {
		s.final = file.Stmts[len(file.Stmts)-1]
	}
	if s.vars == nil {
		s.vars = map[string]value{}
	}
	s.stmts(file.Stmts)
}

func (s *shell) clone() *shell {
	c := *s
	c.vars = maps.Clone(s.vars)
	c.args = slices.Clone(s.args)
	c.arrays = maps.Clone(s.arrays)
	return &c
}

// maybe is a copy for what is run only in some cases.
func (s *shell) maybe() *shell {
	c := s.clone()
	c.p.sure = false
	return c
}

// merge takes over what either of two branches leaves behind.
func (s *shell) merge(branches ...*shell) {
	var going []*shell
	for _, b := range branches {
		if !b.done {
			going = append(going, b)
		}
	}
	if len(going) == 0 {
		s.done = true
		return
	}
	s.vars, s.args, s.known, s.p.dir = going[0].vars, going[0].args, going[0].known, going[0].p.dir
	for _, b := range going[1:] {
		for k := range b.vars {
			if _, ok := s.vars[k]; !ok {
				s.vars[k] = known("")
			}
		}
		for k, v := range s.vars {
			w, ok := b.vars[k]
			if !ok {
				w = known("")
			}
			s.vars[k] = v.merge(w)
		}
		s.p.dir = s.p.dir.merge(b.p.dir)
		if len(s.args) != len(b.args) || text(s.args) != text(b.args) {
			// One or the other command line: kept apart as the words that may
			// be first, which is what is started.
			s.args = mergeArgs(s.args, b.args)
		}
		s.known = s.known && b.known
	}
}

// mergeArgs is either of two lists, as far as one list can say it.
func mergeArgs(a, b []value) []value {
	out := make([]value, max(len(a), len(b)))
	for i := range out {
		switch {
		case i >= len(a):
			out[i] = b[i].merge(unknown)
		case i >= len(b):
			out[i] = a[i].merge(unknown)
		default:
			out[i] = a[i].merge(b[i])
		}
	}
	return out
}

func (s *shell) stmts(list []*syntax.Stmt) {
	for _, st := range list {
		if s.done || s.g.steps <= 0 {
			return
		}
		s.last = st == s.final
		s.stmt(st)
	}
}

// stmt follows one statement, and says what its result as a condition is.
func (s *shell) stmt(st *syntax.Stmt) truth {
	if st == nil || st.Cmd == nil {
		return truth{}
	}
	s.g.steps--
	for _, r := range st.Redirs {
		if r.Hdoc != nil {
			s.stdin = s.word(r.Hdoc)
		}
		if r.Op == syntax.WordHdoc {
			s.stdin = s.word(r.Word)
		}
	}
	t := s.cmd(st)
	s.stdin = value{}
	if st.Negated {
		t = t.not()
	}
	return t
}

func (s *shell) cmd(st *syntax.Stmt) truth {
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		if st.Background {
			return s.clone().call(c)
		}
		return s.call(c)
	case *syntax.BinaryCmd:
		return s.binary(c)
	case *syntax.IfClause:
		s.ifClause(c)
	case *syntax.WhileClause:
		b := s.maybe()
		for _, cond := range c.Cond {
			b.stmt(cond)
		}
		b.stmts(c.Do)
		b.done = false
		s.merge(s.clone(), b)
	case *syntax.ForClause:
		s.forClause(c)
	case *syntax.CaseClause:
		s.caseClause(c)
	case *syntax.Block:
		s.stmts(c.Stmts)
	case *syntax.Subshell:
		b := s.clone()
		b.stmts(c.Stmts)
	case *syntax.FuncDecl:
		if c.Name != nil {
			s.funcs[c.Name.Value] = c.Body
		}
	case *syntax.DeclClause:
		for _, a := range c.Args {
			if a.Name != nil && a.Value != nil {
				s.set(a)
			}
		}
	case *syntax.TimeClause:
		return s.stmt(c.Stmt)
	case *syntax.TestClause:
		return s.test(c.X)
	case *syntax.CoprocClause:
		s.maybe().stmt(c.Stmt)
	}
	return truth{}
}

func (s *shell) binary(c *syntax.BinaryCmd) truth {
	switch c.Op {
	case syntax.AndStmt, syntax.OrStmt:
		t := s.stmt(c.X)
		if s.done {
			return t
		}
		and := c.Op == syntax.AndStmt
		switch {
		case t.known && t.yes == and: // the second is run
			u := s.stmt(c.Y)
			u.sure = u.sure && t.sure
			return u
		case t.known && t.sure:
			return t
		case t.known, !and:
			b := s.maybe()
			b.stmt(c.Y)
			s.merge(s.clone(), b)
			return truth{}
		}
		// A command that is no test succeeds as a rule.
		return s.stmt(c.Y)
	default: // pipes
		b := s.clone()
		b.stdin = s.clone().prints(c.X)
		b.stmt(c.Y)
	}
	return truth{}
}

func (s *shell) ifClause(c *syntax.IfClause) {
	if c == nil {
		return
	}
	var t truth
	for _, cond := range c.Cond {
		t = s.stmt(cond)
		if s.done {
			return
		}
	}
	if len(c.Cond) == 0 { // else
		s.stmts(c.Then)
		return
	}
	otherwise := func(b *shell) {
		if c.Else != nil {
			b.ifClause(c.Else)
		}
	}
	switch {
	case t.known && t.yes:
		if !t.sure {
			otherwise(s.maybe())
		}
		s.stmts(c.Then)
	case t.known:
		if !t.sure {
			s.maybe().stmts(c.Then)
		}
		otherwise(s)
	default:
		a, b := s.maybe(), s.maybe()
		a.stmts(c.Then)
		otherwise(b)
		// Where one branch ends, the other goes on.
		s.merge(a, b)
	}
}

func (s *shell) forClause(c *syntax.ForClause) {
	b := s.maybe()
	if it, ok := c.Loop.(*syntax.WordIter); ok {
		items := b.fields(it.Items)
		if !it.InPos.IsValid() {
			items = b.args
		}
		all := value{}
		for _, v := range items {
			all = all.merge(v)
		}
		b.vars[it.Name.Value] = all
	}
	b.stmts(c.Do)
	b.done = false
	s.merge(s.clone(), b)
}

func (s *shell) caseClause(c *syntax.CaseClause) {
	subject := s.word(c.Word)
	word, ok := subject.one()
	var branches []*shell
	matched, certain := false, false
	for _, item := range c.Items {
		hit := false
		if ok {
			for _, p := range item.Patterns {
				pattern, sure := s.pattern(p)
				hit = hit || sure && match(pattern, word)
			}
		}
		switch {
		case ok && hit && !matched:
			matched, certain = true, true
			b := s.clone()
			b.stmts(item.Stmts)
			branches = append(branches, b)
		case ok && subject.machine:
			// Another machine's.
		default:
			b := s.maybe()
			b.stmts(item.Stmts)
			if !ok {
				branches = append(branches, b)
			}
		}
	}
	if !certain {
		branches = append(branches, s.clone())
	}
	s.merge(branches...)
}

func (s *shell) set(a *syntax.Assign) {
	switch {
	case a.Name == nil:
	case a.Array != nil:
		var words []*syntax.Word
		for _, e := range a.Array.Elems {
			if e.Value != nil {
				words = append(words, e.Value)
			}
		}
		list := s.fields(words)
		if a.Append {
			list = append(s.array(a.Name.Value), list...)
		}
		s.setArray(a.Name.Value, list)
	case a.Index != nil:
		s.vars[a.Name.Value] = unknown
	case a.Value == nil:
		s.vars[a.Name.Value] = known("")
	default:
		v := s.word(a.Value)
		if a.Append {
			v = s.vars[a.Name.Value].orEmpty().join(v)
		}
		s.vars[a.Name.Value] = v
	}
}
