package reach

import (
	"slices"
	"strings"
)

// value is what a word of a script may be: one of some alternatives, and, if it
// is open, anything else too.
type value struct {
	alts []string
	open bool
	// machine reports whether it comes from the machine, as uname -m does: then
	// what it is compared with is sure.
	machine bool
}

// maxAlternatives and maxWord bound what is remembered of one value.
const (
	maxAlternatives = 8
	maxWord         = 4096
)

var unknown = value{open: true}

func known(s string) value {
	if len(s) > maxWord {
		return unknown
	}
	return value{alts: []string{s}}
}

func knownAll(list []string) []value {
	out := make([]value, len(list))
	for i, s := range list {
		out[i] = known(s)
	}
	return out
}

// one is the only value there can be.
func (v value) one() (string, bool) {
	if v.open || len(v.alts) != 1 {
		return "", false
	}
	return v.alts[0], true
}

// merge is either of two values.
func (v value) merge(w value) value {
	out := value{alts: slices.Clone(v.alts), open: v.open || w.open, machine: v.machine && w.machine}
	for _, s := range w.alts {
		if !slices.Contains(out.alts, s) {
			out.alts = append(out.alts, s)
		}
	}
	if len(out.alts) > maxAlternatives {
		out.alts, out.open = out.alts[:maxAlternatives], true
	}
	return out
}

// join is one value after the other.
func (v value) join(w value) value {
	out := value{open: v.open || w.open, machine: v.machine || w.machine}
	for _, a := range v.alts {
		for _, b := range w.alts {
			if len(out.alts) >= maxAlternatives || len(a)+len(b) > maxWord {
				out.open = true
				continue
			}
			out.alts = append(out.alts, a+b)
		}
	}
	return out
}

// each is the value with a function applied to its alternatives.
func (v value) each(f func(string) string) value {
	out := value{open: v.open, machine: v.machine}
	for _, a := range v.alts {
		out = out.merge(value{alts: []string{f(a)}, machine: v.machine})
	}
	out.machine = v.machine
	return out
}

// text is a list of values for a key.
func text(list []value) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(strings.Join(v.alts, "|"))
		if v.open {
			b.WriteByte('?')
		}
		b.WriteByte(0)
	}
	return b.String()
}
