package build

import (
	"bytes"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// A file in which no bad pattern is found is one that BuildKit takes, and the
// other way round.
func FuzzBadPattern(f *testing.F) {
	for _, s := range []string{"", "*.log\n[", "!\n", "# [\nok", "a/[b-]\n", "\\\n", "[!x]\r\n**", "\xef\xbb\xbf[", "a\x00b", "**/[]", "!!x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		line, bad := badPattern(data)
		patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
		if err == nil {
			var m *patternmatcher.PatternMatcher
			if m, err = patternmatcher.New(patterns); err == nil {
				_, err = m.MatchesOrParentMatches("a/b")
			}
		}
		if bad == nil && err != nil {
			t.Fatalf("%q: BuildKit says %v", data, err)
		}
		if n := bytes.Count(data, []byte("\n")) + 1; bad != nil && (line < 1 || line > n) {
			t.Fatalf("%q has %d lines, and line %d is bad: %v", data, n, line, bad)
		}
	})
}
