package reach

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// truth is what a condition is when the image is started as it is. It is sure
// where no argument or variable that a user may set can change it.
type truth struct{ known, yes, sure bool }

func (t truth) not() truth {
	t.yes = !t.yes
	return t
}

func (t truth) and(u truth) truth {
	switch {
	case t.known && !t.yes:
		return t
	case u.known && !u.yes:
		return u
	case t.known && u.known:
		return truth{known: true, yes: true, sure: t.sure && u.sure}
	}
	return truth{}
}

func (t truth) or(u truth) truth { return t.not().and(u.not()).not() }

// test follows [[ … ]].
func (s *shell) test(x syntax.TestExpr) truth {
	switch e := x.(type) {
	case *syntax.BinaryTest:
		switch e.Op {
		case syntax.AndTest:
			return s.test(e.X).and(s.test(e.Y))
		case syntax.OrTest:
			return s.test(e.X).or(s.test(e.Y))
		}
		left, ok := e.X.(*syntax.Word)
		right, fine := e.Y.(*syntax.Word)
		if !ok || !fine {
			return truth{}
		}
		v := s.word(left)
		switch e.Op {
		case syntax.TsMatch, syntax.TsMatchShort, syntax.TsNoMatch:
			text, ok := v.one()
			pattern, fine := s.pattern(right)
			if !ok || !fine {
				return truth{}
			}
			return truth{known: true, yes: match(pattern, text) == (e.Op != syntax.TsNoMatch), sure: v.machine}
		case syntax.TsReMatch:
			text, ok := v.one()
			expression, fine := s.word(right).one()
			if !ok || !fine || len(expression) > 256 {
				return truth{}
			}
			re, err := regexp.Compile(expression)
			if err != nil {
				return truth{}
			}
			return truth{known: true, yes: re.MatchString(text), sure: v.machine}
		}
		return compare(v, e.Op.String(), s.word(right))
	case *syntax.UnaryTest:
		if e.Op == syntax.TsNot {
			return s.test(e.X).not()
		}
		if w, ok := e.X.(*syntax.Word); ok {
			return s.unary(e.Op.String(), s.word(w))
		}
	case *syntax.ParenTest:
		return s.test(e.X)
	case *syntax.Word:
		return s.unary("-n", s.word(e))
	}
	return truth{}
}

// condition follows the arguments of test(1), with -a binding closer than -o.
func (s *shell) condition(args []value) truth {
	words := make([]string, len(args))
	for i, a := range args {
		words[i], _ = a.one()
	}
	if i := slices.Index(words, "-o"); i > 0 && len(args) > 3 {
		return s.condition(args[:i]).or(s.condition(args[i+1:]))
	}
	if i := slices.Index(words, "-a"); i > 0 && len(args) > 3 {
		return s.condition(args[:i]).and(s.condition(args[i+1:]))
	}
	if len(args) > 1 && words[0] == "!" {
		return s.condition(args[1:]).not()
	}
	switch len(args) {
	case 0:
		return truth{known: true}
	case 1:
		return s.unary("-n", args[0])
	case 2:
		return s.unary(words[0], args[1])
	case 3:
		return compare(args[0], words[1], args[2])
	}
	return truth{}
}

func (s *shell) unary(op string, v value) truth {
	text, ok := v.one()
	if !ok {
		return truth{}
	}
	switch op {
	case "-z":
		return truth{known: true, yes: text == ""}
	case "-n":
		return truth{known: true, yes: text != ""}
	case "-e", "-f", "-x", "-r", "-s", "-d", "-L", "-h":
		if !strings.HasPrefix(text, "/") {
			dir, ok := s.p.dir.one()
			if !ok {
				return truth{}
			}
			text = dir + "/" + text
		}
		// A volume may hold what the image does not.
		n := s.g.fs.Lookup(text)
		return truth{known: true, yes: n != nil && (op != "-x" || n.Mode&0o111 != 0)}
	}
	return truth{}
}

func compare(a value, op string, b value) truth {
	x, ok := a.one()
	y, fine := b.one()
	if !ok || !fine {
		return truth{}
	}
	t := truth{known: true, sure: a.machine || b.machine}
	i, bad := strconv.Atoi(x)
	j, worse := strconv.Atoi(y)
	numbers := bad == nil && worse == nil
	switch op {
	case "=", "==":
		t.yes = x == y
	case "!=":
		t.yes = x != y
	case "-eq":
		t.yes = numbers && i == j
	case "-ne":
		t.yes = numbers && i != j
	case "-gt":
		t.yes = numbers && i > j
	case "-ge":
		t.yes = numbers && i >= j
	case "-lt":
		t.yes = numbers && i < j
	case "-le":
		t.yes = numbers && i <= j
	default:
		return truth{}
	}
	return t
}
