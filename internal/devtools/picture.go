package devtools

import (
	"context"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	pictureColumns = 112
	pictureLines   = 200 // more than a release of the sample prints
	shownLines     = 30
)

// Picture runs a command in a terminal of tmux's and draws the end of what it
// showed as an SVG file.
func Picture(ctx context.Context, dir, file string, command ...string) error {
	socket := filepath.Join(os.TempDir(), fmt.Sprintf("archmage-picture-%d", os.Getpid()))
	tmux := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "tmux", append([]string{"-f", "/dev/null", "-S", socket}, args...)...)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("running tmux %s: %w", args[0], err)
		}
		return out, nil
	}
	typed := strings.Join(command, " ")
	script := fmt.Sprintf("%s; tmux -S %s wait-for -S ended; sleep 600", typed, socket)
	if _, err := tmux("new-session", "-d", "-x", strconv.Itoa(pictureColumns), "-y", strconv.Itoa(pictureLines), script); err != nil {
		return err
	}
	defer func() { _, _ = tmux("kill-server") }() // the socket goes with it
	if _, err := tmux("wait-for", "ended"); err != nil {
		return err
	}
	screen, err := tmux("capture-pane", "-e", "-p")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(screen), "\n"), "\n")
	if len(lines) > shownLines {
		lines = lines[len(lines)-shownLines:]
	}
	return os.WriteFile(file, []byte(SVG(append([]string{"$ " + typed}, lines...))), 0o644)
}

// sgr matches the escape sequences that select colours, which are the only ones
// that tmux writes.
var sgr = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// classes are those of the style sheet, by the code that selects them.
var classes = map[string]string{"1": "b", "2": "f", "31": "r", "32": "g", "33": "y", "34": "u", "36": "c"}

// SVG draws lines of a terminal, for light and dark pages.
func SVG(lines []string) string {
	const line, letter, margin = 18, 843, 16 // pixels, a letter in hundredths
	width, height := pictureColumns*letter/100+2*margin, len(lines)*line+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="A release in a terminal">
<style>
rect { fill: #fafafa; stroke: #d0d7de } text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328; white-space: pre }
.b { font-weight: bold } .f { fill: #6e7781 } .r { fill: #cf222e } .g { fill: #1a7f37 } .y { fill: #9a6700 } .u { fill: #0969da } .c { fill: #1b7c83 }
@media (prefers-color-scheme: dark) { rect { fill: #0d1117; stroke: #30363d } text { fill: #e6edf3 } .f { fill: #8b949e } .r { fill: #ff7b72 } .g { fill: #3fb950 } .y { fill: #d29922 } .u { fill: #58a6ff } .c { fill: #39c5cf } }
</style>
<rect x="0.5" y="0.5" width="%d" height="%d" rx="8"/>
`, width, height, width-1, height-1)
	for i, text := range lines {
		fmt.Fprintf(&b, `<text x="%d" y="%d" xml:space="preserve">%s</text>`+"\n", margin, margin+13+i*line, spans(text))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// spans are the runs of one style in a line.
func spans(text string) string {
	var b strings.Builder
	var on []string
	at := 0
	write := func(run string) {
		if run == "" {
			return
		}
		if run = html.EscapeString(strings.ToValidUTF8(run, string(utf8.RuneError))); len(on) > 0 {
			fmt.Fprintf(&b, `<tspan class="%s">%s</tspan>`, strings.Join(on, " "), run)
		} else {
			b.WriteString(run)
		}
	}
	for _, m := range sgr.FindAllStringSubmatchIndex(text, -1) {
		write(text[at:m[0]])
		at = m[1]
		for code := range strings.SplitSeq(text[m[2]:m[3]], ";") {
			switch c := classes[code]; {
			case c != "":
				on = append(on, c)
			case code == "" || code == "0" || code == "39" || code == "22":
				on = nil
			}
		}
	}
	write(text[at:])
	return strings.TrimRight(b.String(), " ")
}
