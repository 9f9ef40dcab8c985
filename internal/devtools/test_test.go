package devtools

import (
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	t.Parallel()
	in := `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:12: no sshd on this machine\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
`
	c := &tally{output: map[string][]string{}}
	c.read(strings.NewReader(in))
	if c.passed != 1 || c.failed != 1 || len(c.skips) != 1 || c.skips[0] != "p TestB: no sshd on this machine" {
		t.Errorf("%+v", c)
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	for want, lines := range map[string][]string{
		"x: y":                {"=== RUN T\n", "    a_test.go:3: x: y\n"},
		"plain":               {"plain\n"},
		"no reason was given": {"--- SKIP: T\n"},
	} {
		if got := reason(lines); got != want {
			t.Errorf("reason(%q) = %q, want %q", lines, got, want)
		}
	}
}
