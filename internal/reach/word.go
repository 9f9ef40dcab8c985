package reach

import (
	"regexp"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/pattern"
	"mvdan.cc/sh/v3/syntax"
)

// orEmpty is the value, the empty string if nothing was ever assigned.
func (v value) orEmpty() value {
	if len(v.alts) == 0 && !v.open {
		return known("")
	}
	return v
}

func (s *shell) array(name string) []value { return s.arrays[name] }

func (s *shell) setArray(name string, list []value) {
	if len(list) > 256 {
		list = list[:256]
	}
	s.arrays[name] = list
	s.vars[name] = known("")
	if len(list) > 0 {
		s.vars[name] = list[0]
	}
}

// maxFields bounds the words of one command.
const maxFields = 512

// fields expands words to the arguments that they make up.
func (s *shell) fields(words []*syntax.Word) []value {
	var out []value
	for _, w := range words {
		if len(out) > maxFields {
			return out
		}
		out = append(out, s.split(w)...)
	}
	return out
}

// split expands one word, which may become several or none.
func (s *shell) split(w *syntax.Word) []value {
	if list, ok := s.list(w); ok {
		return list
	}
	v := s.word(w)
	quoted, literal := false, true
	for _, part := range w.Parts {
		switch part.(type) {
		case *syntax.SglQuoted, *syntax.DblQuoted:
			quoted, literal = true, false
		case *syntax.Lit:
		default:
			literal = false
		}
	}
	one, ok := v.one()
	switch {
	case quoted:
	case literal && ok:
		return knownAll(s.glob(one))
	case ok:
		var out []value
		for _, f := range strings.Fields(one) {
			out = append(out, knownAll(s.glob(f))...)
		}
		return out
	default:
		// Of several alternatives the first words are what is started.
		v = v.each(func(s string) string { first, _, _ := strings.Cut(strings.TrimSpace(s), " "); return first })
	}
	return []value{v}
}

// list expands "$@", $* and "${array[@]}", which are several words.
func (s *shell) list(w *syntax.Word) ([]value, bool) {
	if len(w.Parts) != 1 {
		return nil, false
	}
	part := w.Parts[0]
	if q, ok := part.(*syntax.DblQuoted); ok && len(q.Parts) == 1 {
		part = q.Parts[0]
	}
	p, ok := part.(*syntax.ParamExp)
	if !ok || p.Param == nil || p.Length || p.Excl || p.Exp != nil && p.Exp.Op != syntax.AlternateUnset || p.Repl != nil {
		return nil, false
	}
	name := p.Param.Value
	var all []value
	switch {
	case name == "@" || name == "*":
		all = s.args
		if !s.known {
			all = append(all, unknown)
		}
	case p.Index != nil:
		if index, ok := p.Index.(*syntax.Word); !ok || index.Lit() != "@" && index.Lit() != "*" {
			return nil, false
		}
		all = s.arrays[name]
	default:
		return nil, false
	}
	if p.Slice != nil {
		from, ok := number(p.Slice.Offset)
		if !ok || from < 0 {
			return []value{unknown}, true
		}
		if name == "@" || name == "*" {
			from = max(from-1, 0)
		}
		all = all[min(from, len(all)):]
		if n, ok := number(p.Slice.Length); ok && n >= 0 {
			all = all[:min(n, len(all))]
		}
	}
	return all, true
}

func number(x syntax.ArithmExpr) (int, bool) {
	w, ok := x.(*syntax.Word)
	if !ok || w == nil {
		return 0, false
	}
	n, err := strconv.Atoi(w.Lit())
	return n, err == nil
}

// word expands a word to one value.
func (s *shell) word(w *syntax.Word) value {
	if w == nil {
		return known("")
	}
	out := known("")
	for i, part := range w.Parts {
		v := s.part(part)
		if lit, ok := part.(*syntax.Lit); ok && i == 0 && strings.HasPrefix(lit.Value, "~") {
			v = unknown
		}
		out = out.join(v)
	}
	return out
}

func (s *shell) part(part syntax.WordPart) value {
	switch p := part.(type) {
	case *syntax.Lit:
		return known(unescape(p.Value, false))
	case *syntax.SglQuoted:
		return known(p.Value)
	case *syntax.DblQuoted:
		out := known("")
		for _, inner := range p.Parts {
			if lit, ok := inner.(*syntax.Lit); ok {
				out = out.join(known(unescape(lit.Value, true)))
				continue
			}
			out = out.join(s.part(inner))
		}
		return out
	case *syntax.ParamExp:
		return s.param(p)
	case *syntax.CmdSubst:
		return s.substitute(p.Stmts)
	}
	return unknown
}

// unescape removes the backslashes of a literal; in double quotes they stay
// before what needs none.
func unescape(text string, quoted bool) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			next := text[i+1]
			if next == '\n' {
				i++
				continue
			}
			if !quoted || strings.IndexByte("$`\"\\", next) >= 0 {
				i++
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func (s *shell) param(p *syntax.ParamExp) value {
	if p.Param == nil {
		return unknown
	}
	v := s.variable(p.Param.Value)
	switch {
	case p.Index != nil && p.Param.Value == "BASH_SOURCE":
		if i, ok := number(p.Index); ok && i > 0 {
			v = known(s.name)
		}
	case p.Index != nil:
		v = unknown
		if i, ok := number(p.Index); ok && i >= 0 && i < len(s.arrays[p.Param.Value]) {
			v = s.arrays[p.Param.Value][i]
		}
	case p.Excl:
		name, ok := v.one()
		if !ok || p.Names != 0 {
			return unknown
		}
		v = s.variable(name)
	case p.Length, p.Repl != nil, p.Width:
		return unknown
	case p.Slice != nil:
		from, ok := number(p.Slice.Offset)
		n, fine := number(p.Slice.Length)
		if !ok || !fine || from < 0 || n < 0 {
			return unknown
		}
		return v.each(func(s string) string { s = s[min(from, len(s)):]; return s[:min(n, len(s))] })
	}
	if p.Exp == nil {
		return v
	}
	return s.expansion(p, v)
}

// expansion follows ${a:-b}, ${a%b} and the like.
func (s *shell) expansion(p *syntax.ParamExp, v value) value {
	switch op := p.Exp.Op; op {
	case syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.AssignUnset, syntax.AssignUnsetOrNull, syntax.ErrorUnset, syntax.ErrorUnsetOrNull:
		out := value{open: v.open, machine: v.machine}
		for _, a := range v.alts {
			switch {
			case a != "":
				out = out.merge(value{alts: []string{a}, machine: v.machine})
			case op != syntax.ErrorUnset && op != syntax.ErrorUnsetOrNull:
				out = out.merge(s.word(p.Exp.Word))
			}
		}
		if v.open && op != syntax.ErrorUnset && op != syntax.ErrorUnsetOrNull {
			out = out.merge(s.word(p.Exp.Word))
		}
		if op == syntax.AssignUnset || op == syntax.AssignUnsetOrNull {
			s.vars[p.Param.Value] = out
		}
		return out
	case syntax.AlternateUnset, syntax.AlternateUnsetOrNull:
		out := value{open: v.open}
		for _, a := range v.alts {
			if a == "" {
				out = out.merge(known(""))
			} else {
				out = out.merge(s.word(p.Exp.Word))
			}
		}
		return out
	case syntax.RemSmallSuffix, syntax.RemLargeSuffix, syntax.RemSmallPrefix, syntax.RemLargePrefix:
		expression, ok := s.pattern(p.Exp.Word)
		if !ok {
			return unknown
		}
		return v.each(func(text string) string { return remove(text, expression, op) })
	case syntax.UpperAll:
		return v.each(strings.ToUpper)
	case syntax.LowerAll:
		return v.each(strings.ToLower)
	}
	return unknown
}

// remove takes off what a pattern matches at one end of a text.
func remove(text, expression string, op syntax.ParExpOperator) string {
	re := compiled(expression)
	if re == nil || len(text) > 1024 {
		return text
	}
	out, found := text, false
	for i := range len(text) + 1 {
		switch op {
		case syntax.RemSmallPrefix:
			if !found && re.MatchString(text[:i]) {
				out, found = text[i:], true
			}
		case syntax.RemLargePrefix:
			if re.MatchString(text[:i]) {
				out = text[i:]
			}
		case syntax.RemLargeSuffix:
			if !found && re.MatchString(text[i:]) {
				out, found = text[:i], true
			}
		default:
			if re.MatchString(text[i:]) {
				out = text[:i]
			}
		}
	}
	return out
}

func compiled(expression string) *regexp.Regexp {
	re, err := regexp.Compile("(?s)^(?:" + expression + ")$")
	if err != nil {
		return nil
	}
	return re
}

// pattern is the regular expression of a shell pattern.
func (s *shell) pattern(w *syntax.Word) (string, bool) {
	if w == nil {
		return "", true
	}
	var b strings.Builder
	for _, part := range w.Parts {
		if lit, ok := part.(*syntax.Lit); ok {
			b.WriteString(lit.Value)
			continue
		}
		v, ok := s.part(part).one()
		if !ok {
			return "", false
		}
		b.WriteString(pattern.QuoteMeta(v, 0))
	}
	expression, err := pattern.Regexp(b.String(), 0)
	return expression, err == nil && len(expression) < maxWord
}

func match(expression, text string) bool {
	re := compiled(expression)
	return re != nil && re.MatchString(text)
}

// variable is what a parameter holds.
func (s *shell) variable(name string) value {
	switch name {
	case "0":
		return known(s.name)
	case "#":
		if s.known {
			return known(strconv.Itoa(len(s.args)))
		}
		return unknown
	case "@", "*":
		out := known("")
		for i, a := range s.args {
			if i > 0 {
				out = out.join(known(" "))
			}
			out = out.join(a)
		}
		if !s.known {
			out.open = true
		}
		return out
	case "?", "$", "!", "-", "_", "RANDOM", "SECONDS", "LINENO", "UID", "EUID", "PPID", "IFS":
		return unknown
	case "BASH_SOURCE":
		return known(s.file)
	case "PWD":
		return s.p.dir
	case "HOSTTYPE":
		return value{alts: []string{s.g.unameMachine()}, machine: true}
	}
	if n, err := strconv.Atoi(name); err == nil {
		switch {
		case n >= 1 && n <= len(s.args):
			return s.args[n-1]
		case s.known:
			return known("")
		}
		return unknown
	}
	return s.vars[name].orEmpty()
}
