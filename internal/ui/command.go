package ui

import (
	"regexp"
	"strings"
)

// Commands is how people start tasks here. Texts name them as `mage release`;
// the zero Commands leaves that as it is.
type Commands struct {
	// Program is what they type: "archmage", "go tool mage", "bin/archmage".
	Program string
	// Prefix is the alias that another magefile gave the tasks: "img:".
	Prefix string
	// Dashes is set where flags have two dashes, as in --dry-run.
	Dashes bool
}

// command matches a task between the quotes that texts put around commands.
var command = regexp.MustCompile("`mage ([^`]+)`")

// In writes the commands of a text as people type them.
func (c Commands) In(text string) string {
	if c.Program == "" {
		return text
	}
	return command.ReplaceAllStringFunc(text, func(found string) string {
		words := strings.Fields(strings.Trim(found, "`"))[1:]
		for i, word := range words {
			switch {
			case !strings.HasPrefix(word, "-"):
				words[i] = c.Prefix + word
			case c.Dashes:
				words[i] = Dashed(word)
			}
		}
		return "`" + c.Program + " " + strings.Join(words, " ") + "`"
	})
}

// Dashed writes a flag of a task, -dryRun=…, as commands have it: --dry-run=….
func Dashed(flag string) string {
	name, value, has := strings.Cut(strings.TrimLeft(flag, "-"), "=")
	var b strings.Builder
	b.WriteString("--")
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	if has {
		b.WriteString("=" + value)
	}
	return b.String()
}
