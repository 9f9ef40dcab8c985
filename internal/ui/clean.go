package ui

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes a foreign string harmless on one line of a terminal: control
// characters (C0, DEL, C1), line separators and bidirectional overrides become
// Go escapes such as \x1b, and bytes that are no UTF-8 become \xNN. All other
// Unicode stays.
func Clean(s string) string {
	return clean(s, func(rune) bool { return false })
}

// CleanLines is [Clean] for text of several lines, such as a log: line feeds
// and tabs stay, and CR LF becomes LF.
func CleanLines(s string) string {
	return clean(strings.ReplaceAll(s, "\r\n", "\n"), func(r rune) bool { return r == '\n' || r == '\t' })
}

func clean(s string, keep func(rune) bool) string {
	var b strings.Builder
	for i, size := 0, 0; i < len(s); i += size {
		var r rune
		r, size = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			const hex = "0123456789abcdef"
			b.WriteString(`\x`)
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&0xf])
		case harmful(r) && !keep(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteString(s[i : i+size])
		}
	}
	return b.String()
}

// harmful says whether r may move the cursor or reorder what stands around it.
func harmful(r rune) bool {
	return unicode.IsControl(r) ||
		r == '\u2028' || r == '\u2029' || // line and paragraph separator
		r >= '\u202a' && r <= '\u202e' || // bidirectional embeddings and overrides
		r >= '\u2066' && r <= '\u2069' // bidirectional isolates
}
