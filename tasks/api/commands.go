package api

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/archmage-build/archmage/internal/ui"
)

// Commands is how people start tasks in this process, for texts that name one.
func Commands() ui.Commands { return commands("") }

// commands is how people start tasks: by the command that program names, or
// through mage.
func commands(program string) ui.Commands {
	if program != "" {
		return ui.Commands{Program: program, Dashes: true}
	}
	c := started()
	for _, word := range os.Args[1:] {
		if i := strings.LastIndex(word, ":"); !strings.HasPrefix(word, "-") && IsTask(word[i+1:]) {
			c.Prefix = word[:i+1]
			break
		}
	}
	return c
}

// started is found out once: by the name of this process, or by the mage that
// runs it from its cache under a name that nobody typed.
var started = sync.OnceValue(func() ui.Commands {
	name := filepath.ToSlash(os.Args[0])
	if !cached(name) {
		if !strings.Contains(name, "/") || filepath.IsAbs(os.Args[0]) {
			name = filepath.Base(name)
		}
		return ui.Commands{Program: name}
	}
	c := ui.Commands{Program: "mage"}
	parent, err := process.NewProcess(int32(os.Getppid()))
	if err != nil {
		return c
	}
	above, err := parent.Parent()
	if err != nil {
		return c
	}
	if words, err := above.CmdlineSlice(); err == nil && len(words) > 2 && strings.HasPrefix(filepath.Base(words[0]), "go") && words[1] == "tool" {
		c.Program = "go tool mage"
	}
	return c
})

// cached reports whether a program is one that mage keeps for a magefile: a
// hash in a directory of its own, compiled from a generated file.
func cached(name string) bool {
	base := strings.TrimSuffix(filepath.Base(name), ".exe")
	if len(base) < 32 || strings.Trim(base, "0123456789abcdef") != "" {
		return false
	}
	info, ok := debug.ReadBuildInfo()
	return ok && info.Path == "command-line-arguments"
}
