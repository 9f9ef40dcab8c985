package reach

import (
	"fmt"
	"regexp"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxNesting bounds what the parser follows by recursion.
const maxNesting = 200

// parse reads a script in bash's language, or else in another.
func parse(source string) (file *syntax.File, err error) {
	depth, deepest := 0, 0
	for i := range len(source) {
		switch source[i] {
		case '(', '{', '[':
			depth++
			deepest = max(deepest, depth)
		case ')', '}', ']':
			depth = max(depth-1, 0)
		case '`':
			deepest++
		}
	}
	if deepest > maxNesting+strings.Count(source, "\n") || strings.Count(source, "`") > 2*maxNesting {
		return nil, fmt.Errorf("it is nested too deeply")
	}
	defer func() {
		if r := recover(); r != nil { // the parser does not promise to be safe from foreign bytes
			err = fmt.Errorf("parsing it: %v", r)
		}
	}()
	for _, lang := range []syntax.LangVariant{syntax.LangBash, syntax.LangPOSIX, syntax.LangMirBSDKorn} {
		var bad error
		if file, bad = syntax.NewParser(syntax.Variant(lang)).Parse(strings.NewReader(source), ""); bad == nil {
			return file, nil
		}
		if err == nil {
			err = bad
		}
	}
	return nil, err
}

var programPath = regexp.MustCompile("(?:^|[\\s;&|(\"'=:,\\[])(/[A-Za-z0-9_.+@/-]+)")

// scan starts the programs that a text names by their paths.
func (g *graph) scan(p process, source string) {
	p.sure, p.what = false, "what the script names"
	for i, line := range strings.Split(source, "\n") {
		if i > 10_000 || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, m := range programPath.FindAllStringSubmatch(line, 20) {
			if n := g.fs.Lookup(m[1]); n != nil && n.IsFile() && n.Mode&0o111 != 0 && n.File != nil {
				q := p
				q.at = p.at.then(fmt.Sprintf("line %d", i+1))
				g.start(q, []value{known(m[1])})
			}
		}
	}
}
