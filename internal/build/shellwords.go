package build

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// operators are words that mean something to a shell and to hardly any program.
var operators = []string{"&&", "||", "|", ">", ">>", "<", "2>", "2>&1", ">&2", "&>"}

// shellWords says why a command was most likely meant for a shell, or "". No
// shell is involved where none is named.
func shellWords(command []string) string {
	script := shellScript(command)
	if len(command) == 0 || script >= 0 {
		return ""
	}
	for _, arg := range command[1:] {
		if slices.Contains(operators, arg) {
			return fmt.Sprintf("%q is for a shell, and no shell is involved. Write: command = [\"sh\", \"-c\", %q]", arg, strings.Join(command, " "))
		}
	}
	if _, err := exec.LookPath(command[0]); err == nil {
		return ""
	}
	switch {
	case strings.ContainsAny(command[0], "|&;<>"), len(command) == 1 && strings.Contains(command[0], "\n"):
		return fmt.Sprintf("%q is for a shell, and no shell is involved. Write: command = [\"sh\", \"-c\", %q]", command[0], strings.Join(command, " "))
	case strings.ContainsAny(command[0], " \t"):
		return fmt.Sprintf("%q is one word, the name of a program. Write each word in quotes of its own: command = [\"%s\"]",
			command[0], strings.Join(append(strings.Fields(command[0]), command[1:]...), `", "`))
	case slices.Contains([]string{"cd", "export", "set", "source", ".", "eval", "ulimit", "umask"}, command[0]):
		return fmt.Sprintf("%q is a command of shells, and no shell is involved. Write: command = [\"sh\", \"-c\", %q], or set dir or env in the block", command[0], strings.Join(command, " "))
	}
	return ""
}
