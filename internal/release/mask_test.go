package release

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/archmage-build/archmage/internal/ui"
)

func TestMask(t *testing.T) {
	t.Parallel()
	m := mask{"long-secret", "secret", "open"}
	for text, want := range map[string]string{
		"nothing here":            "nothing here",
		"the secret is out":       "the ***** is out",
		"a long-secret":           "a *****",
		"opensecretopen":          "***************",
		"cut off at long-sec …":   "cut off at ***** …",
		"cut off at the secret …": "cut off at the ***** …",
		"cut off at lon …":        "cut off at lon …", // three letters give nothing away
		"":                        "",
		"SECRET is another word":  "SECRET is another word",
		"it may be so …":          "it may be so …",
		"one\nsecret":             "one\n*****",
	} {
		if got := m.lines(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestHookOutput writes text with a secret in it in random pieces: no line that
// is shown has the secret, and nothing else is lost.
func TestHookOutput(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const secret = "hunter2-hunter2"
		var text strings.Builder
		lines := rapid.IntRange(1, 6).Draw(rt, "lines")
		want := 0
		for range lines {
			n := rapid.SampledFrom([]int{0, 1, 30, maxHookLine - 8, maxHookLine, 2*maxHookLine - 8, 3 * maxHookLine}).Draw(rt, "before")
			text.WriteString(strings.Repeat("x", n) + secret + strings.Repeat("y", rapid.IntRange(0, 3).Draw(rt, "after")) + "\n")
			want++
		}
		streams, _, shown := ui.Buffers(ui.Traits{})
		w, err := Open(t.TempDir(), streams, nil)
		if err != nil {
			rt.Fatal(err)
		}
		o := &hookOutput{w: w, mask: mask{secret}, point: "before-build"}
		for rest := text.String(); rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "piece")
			if _, err := fmt.Fprint(o, rest[:n]); err != nil {
				rt.Fatal(err)
			}
			rest = rest[n:]
		}
		o.flush()
		for line := range strings.Lines(shown.String()) {
			for n := len(secret); n >= minSecret; n-- {
				if strings.Contains(line, secret[:n]) {
					rt.Fatalf("%d letters of the secret are shown", n)
				}
			}
		}
		if got := strings.Count(shown.String(), "\n"); got != want {
			rt.Fatalf("%d lines are shown, want %d", got, want)
		}
	})
}
