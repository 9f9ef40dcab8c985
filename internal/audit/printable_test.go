package audit

import (
	"encoding/json"
	"testing"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                    "plain",
		"größer, 大":                "größer, 大",
		"\x1b[31mred":              `\u001b[31mred`,
		"two\nlines\tand a tab":    `two\nlines\tand a tab`,
		"\u009b31m":                `\u009b31m`,
		"\u202egnp.exe":            `\u202egnp.exe`,
		"a\u200bb":                 `a\u200bb`,
		"\x7f\xff":                 `\u007f\xff`,
		"line\u2028separator":      `line\u2028separator`,
		"tag \U000e0041 character": `tag \U000e0041 character`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestJSONIsSafeAndTheSame(t *testing.T) {
	t.Parallel()
	in := Tree{Reference: "x", Node: Node{Annotations: map[string]string{"k\u009b": "\x1b]0;title\x07\u202e\U000e0041ü"}}}
	raw, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range string(raw) {
		if r != '\n' && unsafe(r) {
			t.Errorf("the JSON holds %U", r)
		}
	}
	var out Tree
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	for key, value := range in.Annotations {
		if out.Annotations[key] != value {
			t.Errorf("%q came back as %q", value, out.Annotations)
		}
	}
}
