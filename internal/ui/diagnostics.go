package ui

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Diagnostics writes all of diags with the source they are about. Where there
// is no colour, a caret line marks what hcl would have underlined. Nothing is
// written for no diagnostics. Count makes the line that ends them.
func Diagnostics(w *Stream, diags hcl.Diagnostics, files map[string]*hcl.File) error {
	if len(diags) == 0 {
		return nil
	}
	width := 0 // unlimited
	if w.IsTerminal() {
		width = w.Width()
	}
	shown := make(hcl.Diagnostics, len(diags))
	for i, d := range diags {
		named := *d
		named.Summary, named.Detail = w.Commands.In(d.Summary), w.Commands.In(d.Detail)
		shown[i] = &named
	}
	var raw bytes.Buffer
	// Always with colour, as its escapes alone tell what is highlighted.
	if err := hcl.NewDiagnosticTextWriter(&raw, files, uint(width), true).WriteDiagnostics(shown); err != nil {
		return fmt.Errorf("writing diagnostics: %w", err)
	}
	var b strings.Builder
	for line := range strings.Lines(raw.String()) {
		line = strings.TrimRight(line, "\r\n")
		if w.Color() {
			b.WriteString(cleanStyled(line) + "\n")
			continue
		}
		b.WriteString(CleanLines(sgr.ReplaceAllString(line, "")) + "\n")
		if carets := underline(line); carets != "" {
			b.WriteString(carets + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sgr matches the escape sequences that select colours and nothing else
// (ECMA-48, Select Graphic Rendition).
var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// cleanStyled cleans a line but leaves its colours.
func cleanStyled(line string) string {
	var b strings.Builder
	rest := 0
	for _, at := range sgr.FindAllStringIndex(line, -1) {
		b.WriteString(CleanLines(line[rest:at[0]]) + line[at[0]:at[1]])
		rest = at[1]
	}
	return b.String() + CleanLines(line[rest:])
}

// highlighted matches a line of source with its number, in which hcl underlined
// something.
var highlighted = regexp.MustCompile("^( *[0-9]+: )(.*?)\x1b\\[1;4m(.*)\x1b\\[0m")

// underline returns the carets for a line of source, or "".
func underline(line string) string {
	m := highlighted.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	before, marked := CleanLines(m[2]), CleanLines(sgr.ReplaceAllString(m[3], ""))
	// Tabs stay, so that the caret stands right whatever a tab is wide.
	pad := strings.Repeat(" ", len(m[1]))
	for i, field := range strings.Split(before, "\t") {
		if i > 0 {
			pad += "\t"
		}
		pad += strings.Repeat(" ", cells.StringWidth(field))
	}
	return pad + strings.Repeat("^", max(1, cells.StringWidth(marked)))
}

// Count counts diagnostics by severity and names their files, in one line.
func Count(diags hcl.Diagnostics) string {
	var errs, warnings int
	var names []string
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			errs++
		} else {
			warnings++
		}
		if d.Subject != nil && d.Subject.Filename != "" && !slices.Contains(names, d.Subject.Filename) {
			names = append(names, d.Subject.Filename)
		}
	}
	var counts []string
	if errs > 0 {
		counts = append(counts, plural(errs, "error"))
	}
	if warnings > 0 {
		counts = append(counts, plural(warnings, "warning"))
	}
	line := strings.Join(counts, " and ")
	switch len(names) {
	case 0:
	case 1, 2:
		line += " in " + strings.Join(names, " and ")
	default:
		line += " in " + plural(len(names), "file")
	}
	if errs > 0 {
		line += "; nothing was touched"
	}
	return line
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
