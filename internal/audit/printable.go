package audit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns a foreign string as it may go to a terminal or a page:
// control characters (which move the cursor, set titles or erase lines),
// invisible format characters (which reorder text) and line breaks become
// visible escapes, and bytes that are no UTF-8 become \x escapes.
func Printable(s string) string {
	if strings.IndexFunc(s, unsafe) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unsafe(r) && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case unsafe(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// unsafe tells whether a rune does something other than being seen.
func unsafe(r rune) bool {
	return unicode.Is(unicode.C, r) || r == '\u2028' || r == '\u2029'
}

// escapeJSON escapes the unsafe runes of JSON text. They can only stand within
// strings, where \u says the same.
func escapeJSON(raw []byte) []byte {
	text := string(raw)
	if strings.IndexFunc(text, unsafe) < 0 {
		return raw
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !unsafe(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := surrogates(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return []byte(b.String())
}
