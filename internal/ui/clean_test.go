package ui

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want, lines string }{
		{"plain", "plain", "plain"},
		{"größe 日本語 👍🏽", "größe 日本語 👍🏽", "größe 日本語 👍🏽"},
		{"\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`, `\x1b[31mred\x1b[0m`},
		{"\x1b]0;title\a", `\x1b]0;title\a`, `\x1b]0;title\a`},
		{"a\r\nb\tc\rd", `a\r\nb\tc\rd`, "a\nb\tc\\rd"},
		{"\u009b2J", `\u009b2J`, `\u009b2J`},
		{"\x9b2J", `\x9b2J`, `\x9b2J`},
		{"\u202egnp.exe", `\u202egnp.exe`, `\u202egnp.exe`},
		{"\u2066x\u2069\u2028", `\u2066x\u2069\u2028`, `\u2066x\u2069\u2028`},
		{"\ufffd kept", "\ufffd kept", "\ufffd kept"},
		{"it's 'quoted'", "it's 'quoted'", "it's 'quoted'"},
		{"\x00\x7f", `\x00\x7f`, `\x00\x7f`},
	}
	for _, tt := range tests {
		if got := Clean(tt.in); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
		if got := CleanLines(tt.in); got != tt.lines {
			t.Errorf("CleanLines(%q) = %q, want %q", tt.in, got, tt.lines)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[2J\x9b\u202e\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Errorf("Clean(%q) = %q is no UTF-8", s, got)
		}
		if strings.ContainsFunc(got, unicode.IsControl) || strings.ContainsAny(got, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029") {
			t.Errorf("Clean(%q) = %q moves the cursor", s, got)
		}
		if again := Clean(got); again != got {
			t.Errorf("Clean(Clean(%q)) = %q, want %q", s, again, got)
		}
		if lines := strings.ReplaceAll(CleanLines(s), "\n", ""); strings.ContainsFunc(lines, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			t.Errorf("CleanLines(%q) = %q moves the cursor", s, lines)
		}
	})
}
