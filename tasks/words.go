package tasks

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agext/levenshtein"
	"github.com/magefile/mage/mg"

	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/tasks/api"
)

// words refuses what mage would stumble over only after the tasks ahead of it
// have run: a word that is no task, a flag that a later task does not know.
var words = sync.OnceValue(func() error {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Path != "command-line-arguments" {
		return nil // no magefile was compiled: whoever calls has a command line of its own
	}
	var unknown *unknownError
	if err := checkWords(os.Args[1:], self); errors.As(err, &unknown) {
		streams := ui.Capture(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
		streams.Err.Commands = api.Commands()
		return mg.Fatal(api.ExitUsage, ui.Error(streams.Err.Palette, unknown))
	}
	return nil
})

// unknownError is a word of the command line that mage does not know.
type unknownError struct{ problem, hint string }

func (e *unknownError) Error() string  { return e.problem + "; nothing was touched" }
func (e *unknownError) Remedy() string { return e.hint }

// self runs this binary, which tells its tasks and their flags.
func self(args ...string) (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MAGEFILE_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	out, err := cmd.Output()
	return string(out), err
}

// checkWords reads args as mage does, with what ask tells of the tasks.
func checkWords(args []string, ask func(...string) (string, error)) error {
	mage := flag.NewFlagSet("mage", flag.ContinueOnError)
	mage.SetOutput(io.Discard)
	for _, name := range []string{"v", "l", "h"} {
		mage.Bool(name, false, "")
	}
	mage.Duration("t", 0, "")
	if err := mage.Parse(args); err != nil {
		return nil //nolint:nilerror // mage has said it
	}
	args = mage.Args()
	if len(args) < 2 || checkedByMage(args) {
		return nil
	}
	listing, err := ask("-l")
	if err != nil {
		return err
	}
	tasks := listed(listing)
	var before string
	for len(args) > 0 {
		name := strings.ToLower(args[0])
		if !slices.Contains(tasks, name) {
			real, err := alias(name, tasks, ask)
			if err != nil {
				return err
			}
			if real == "" {
				return unknownWord(args[0], before, tasks, ask)
			}
			name = real
		}
		help, err := ask("-h", name)
		if err != nil {
			return err
		}
		required, flags := signature(help)
		if args = args[1:]; len(args) < required {
			return nil // mage says so
		}
		for args = args[required:]; len(args) > 0 && strings.HasPrefix(args[0], "-"); args = args[1:] {
			flag, value, has := strings.Cut(args[0][1:], "=")
			kind, known := flags[strings.ToLower(flag)]
			switch {
			case !known && len(flags) == 0:
				return &unknownError{fmt.Sprintf("%s takes no flags, so no %s", name, args[0]), "leave it out"}
			case !known:
				return &unknownError{fmt.Sprintf("%s has no flag %s", name, args[0]), near(flag, flags)}
			case !has && kind != "bool":
				return &unknownError{fmt.Sprintf("the flag -%s of %s has no value", flag, name), fmt.Sprintf("write -%s=…", flag)}
			case has && !valid(kind, value):
				return &unknownError{fmt.Sprintf("the flag -%s of %s is of type %s, which %q is not", flag, name, kind, value), "`mage -h " + name + "` shows its flags"}
			}
		}
		before = name
	}
	return nil
}

// checkedByMage reports whether args are one task of ours with its flags. Mage
// reads flags only where a task has some.
func checkedByMage(args []string) bool {
	name := strings.ToLower(args[0][strings.LastIndex(args[0], ":")+1:])
	return api.HasFlags(name) && !slices.ContainsFunc(args[1:], func(a string) bool { return !strings.HasPrefix(a, "-") })
}

// valid reports whether mage converts a value to a flag's type.
func valid(kind, value string) bool {
	var err error
	switch kind {
	case "bool":
		_, err = strconv.ParseBool(value)
	case "int":
		_, err = strconv.Atoi(value)
	case "float64":
		_, err = strconv.ParseFloat(value, 64)
	case "time.Duration":
		_, err = time.ParseDuration(value)
	}
	return err == nil
}

func unknownWord(word, before string, tasks []string, ask func(...string) (string, error)) error {
	e := &unknownError{problem: fmt.Sprintf("there is no task %q", word)}
	if n := closest(strings.ToLower(word), tasks); n != "" {
		e.hint = fmt.Sprintf("did you mean %s?", n)
	} else if before != "" {
		if help, err := ask("-h", before); err == nil {
			if _, flags := signature(help); flags["targets"] != "" {
				e.problem = fmt.Sprintf("%s takes no names, and there is no task %q", before, word)
				e.hint = fmt.Sprintf("for a target of that name write %s -targets=%s", before, word)
			}
		}
	}
	if e.hint == "" {
		e.hint = "the flag -l lists the tasks"
	}
	return e
}

// listed are the tasks that `-l` lists, in lower case.
func listed(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "  "); ok && !strings.HasPrefix(rest, " ") {
			if f := strings.Fields(rest); len(f) > 0 {
				out = append(out, strings.ToLower(strings.TrimSuffix(f[0], "*")))
			}
		}
	}
	return out
}

var (
	usageLine = regexp.MustCompile(`(?m)^Usage:\n\n\t(.*)$`)
	argument  = regexp.MustCompile(` <[^>]+>`)
	flagDoc   = regexp.MustCompile(`-(\w+)=<([^>]+)>`)
)

// signature is what `-h TASK` says of a task: how many words it takes, and the
// types of its flags by their names in lower case.
func signature(help string) (required int, flags map[string]string) {
	flags = map[string]string{}
	at := usageLine.FindStringSubmatchIndex(help)
	if at == nil {
		return 0, flags
	}
	usage, _, _ := strings.Cut(help[at[2]:at[3]], "[")
	for _, m := range flagDoc.FindAllStringSubmatch(help[at[2]:], -1) {
		flags[strings.ToLower(m[1])] = m[2]
	}
	return len(argument.FindAllString(usage, -1)), flags
}

// alias is the task that mage has under another name, or "".
func alias(name string, tasks []string, ask func(...string) (string, error)) (string, error) {
	for _, t := range tasks {
		help, err := ask("-h", t)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(help) {
			if rest, ok := strings.CutPrefix(line, "Aliases: "); ok && slices.Contains(strings.Split(strings.ToLower(strings.TrimSpace(rest)), ", "), name) {
				return t, nil
			}
		}
	}
	return "", nil
}

func near(flag string, flags map[string]string) string {
	var names []string
	for n := range flags {
		names = append(names, n)
	}
	slices.Sort(names)
	plain := strings.ToLower(strings.ReplaceAll(strings.TrimLeft(flag, "-"), "-", ""))
	if slices.Contains(names, plain) {
		return "write -" + plain
	}
	if n := closest(plain, names); n != "" {
		return fmt.Sprintf("did you mean -%s?", n)
	}
	return "it has -" + strings.Join(names, ", -")
}

// closest is the known name that a typing error or two turned into word, or "".
func closest(word string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		_, short, _ := strings.Cut(k, ":")
		for _, name := range []string{k, short} {
			if d := levenshtein.Distance(word, name, nil); name != "" && d < distance && d < len(name)/2+1 {
				best, distance = k, d
			}
		}
	}
	return best
}
