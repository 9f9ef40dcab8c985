package build

import (
	"strings"
	"testing"
)

func TestShellWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		command []string
		want    string // part of what is said; "" for nothing
	}{
		{[]string{"go", "build", "./..."}, ""},
		{[]string{"sh", "-c", "cd x && go build"}, ""},
		{[]string{"env", "A=1", "bash", "-ec", "a | b"}, ""},
		{[]string{"find", ".", "-exec", "rm", "{}", ";"}, ""},
		{[]string{"no-such-program"}, ""}, // said when it is run
		{[]string{"cd", "x", "&&", "make"}, `command = ["sh", "-c", "cd x && make"]`},
		{[]string{"go", "version", ">", "version"}, `">" is for a shell`},
		{[]string{"cd x && make"}, `command = ["sh", "-c", "cd x && make"]`},
		{[]string{"no-such-program --flag", "x"}, `command = ["no-such-program", "--flag", "x"]`},
		{[]string{"export", "A=1"}, "is a command of shells"},
	} {
		if got := shellWords(tt.command); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.command, got, tt.want)
		}
	}
}
