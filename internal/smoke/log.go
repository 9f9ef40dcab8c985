package smoke

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/archmage-build/archmage/internal/ui"
)

// unsafeName is all that is no part of a file name of ours.
var unsafeName = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// keep writes what was kept of a run into a file, harmless for terminals, and
// gives its name; "" if it cannot be written, as the report matters more.
func (r *deviceRun) keep(res *Result, o outcome) string {
	if r.options.LogDir == "" {
		return ""
	}
	name := unsafeName.ReplaceAllString(fmt.Sprintf("%s-%s-%s-%d", r.report.Name, res.Target, res.Platform, len(r.results)+1), "_") + ".log"
	if err := os.MkdirAll(r.options.LogDir, 0o755); err != nil {
		return ""
	}
	path := filepath.Join(r.options.LogDir, name)
	text := fmt.Sprintf("device %s, target %s, case %s, %s, try %d: %s\n", r.report.Name, res.Target, res.Case, res.Platform, res.Tries, res.Verdict)
	text += "--- stdout\n" + ui.CleanLines(string(o.stdout)) + "\n--- stderr\n" + ui.CleanLines(string(o.stderr)) + "\n"
	if o.truncated {
		text += "--- more was printed than is kept\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return ""
	}
	return path
}

// tailLines and tailBytes bound what is shown of each stream.
const (
	tailLines = 20
	tailBytes = 4 << 10
)

// tail is the end of what a run printed, stderr last.
func tail(o outcome) string {
	var out []string
	for _, stream := range [][]byte{o.stdout, o.stderr} {
		text := strings.TrimRight(string(stream[max(0, len(stream)-tailBytes):]), "\n\r ")
		if text == "" {
			continue
		}
		lines := strings.Split(text, "\n")
		out = append(out, lines[max(0, len(lines)-tailLines):]...)
	}
	return ui.CleanLines(strings.Join(out, "\n"))
}
