package ui

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

const (
	columnGap   = 2 // blanks between columns
	columnFloor = 8 // the width below which a column is not shortened
	ellipsis    = "…"
)

// cells measures text. The zero Condition does not depend on the locale.
var cells runewidth.Condition

// Column is a column of a Table.
type Column struct {
	Title string
	Right bool // aligned to the right and never shortened: numbers
	Keep  bool // never shortened: what tells the rows apart
}

// Table is text in columns. Columns without any content are left out. On a terminal it is made to fit: digests shrink to
// sha256: and 12 digits, then the widest columns are cut. Elsewhere it is as
// wide as its contents.
type Table struct {
	// Empty is the line written in place of a table without rows; "" writes nothing.
	Empty string
	// Short shortens digests elsewhere than on a terminal too, where what is full
	// stands beside the table.
	Short bool

	columns []Column
	rows    [][]Text
}

// NewTable returns a Table without rows.
func NewTable(columns ...Column) *Table {
	return &Table{columns: columns}
}

// Row appends a row. A cell is a [Text], or any value, which is formatted with
// fmt.Sprint and cleaned. Missing cells are empty; cells beyond the columns are
// a mistake in the program and panic.
func (t *Table) Row(values ...any) {
	if len(values) > len(t.columns) {
		panic(fmt.Sprintf("ui: a row of %d cells in a table of %d columns", len(values), len(t.columns)))
	}
	row := make([]Text, len(t.columns))
	for i, v := range values {
		if text, ok := v.(Text); ok {
			row[i] = text
			continue
		}
		row[i] = Text{clean: Clean(fmt.Sprint(v))}
	}
	t.rows = append(t.rows, row)
}

// Write writes the table to w, in one piece, in the looks of w.
func (t *Table) Write(w *Stream) error {
	if len(t.rows) == 0 {
		if t.Empty == "" {
			return nil
		}
		_, err := fmt.Fprintln(w, w.Faint(w.Commands.In(t.Empty)))
		return err
	}
	lines := make([][]Text, 0, len(t.rows)+1)
	header := make([]Text, len(t.columns))
	for i, c := range t.columns {
		header[i] = Text{clean: Clean(c.Title), style: bold}
	}
	lines = append(lines, header)
	for _, row := range t.rows {
		lines = append(lines, append([]Text(nil), row...))
	}
	shown := t.filled(lines)
	widths := natural(lines, len(shown.columns))
	if t.Short {
		for i := range widths {
			widths[i] = shortenDigests(lines, i)
		}
	}
	if w.IsTerminal() {
		shown.fit(lines, widths, w.Width())
	}
	var b strings.Builder
	for _, line := range lines {
		shown.format(&b, line, widths, w.Palette)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// filled takes the columns without content out of the lines, and returns a Table
// of the others.
func (t *Table) filled(lines [][]Text) *Table {
	out := &Table{}
	var keep []int
	for i, c := range t.columns {
		if slices.ContainsFunc(lines[1:], func(line []Text) bool { return line[i].clean != "" }) {
			keep = append(keep, i)
			out.columns = append(out.columns, c)
		}
	}
	for l, line := range lines {
		kept := make([]Text, 0, len(keep))
		for _, i := range keep {
			kept = append(kept, line[i])
		}
		lines[l] = kept
	}
	return out
}

// format appends one line, without blanks at its end.
func (t *Table) format(b *strings.Builder, line []Text, widths []int, p Palette) {
	blanks := 0 // owed before the next text
	for i, cell := range line {
		fill := widths[i] - cells.StringWidth(cell.clean)
		if t.columns[i].Right {
			blanks += fill
			fill = 0
		}
		if cell.clean != "" {
			b.WriteString(strings.Repeat(" ", blanks))
			blanks = 0
			cell.palette = p
			b.WriteString(cell.String())
		}
		blanks += fill + columnGap
	}
	b.WriteByte('\n')
}

// natural returns the width that each column needs for its widest cell.
func natural(lines [][]Text, columns int) []int {
	widths := make([]int, columns)
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], cells.StringWidth(cell.clean))
		}
	}
	return widths
}

// fit shortens cells and lowers widths until a line takes at most limit
// columns, or nothing is left that may be shortened.
func (t *Table) fit(lines [][]Text, widths []int, limit int) {
	total := columnGap * (len(widths) - 1)
	for _, width := range widths {
		total += width
	}
	shortened := make([]bool, len(widths))
	for total > limit {
		i := widest(widths, func(i int) bool { return !shortened[i] })
		if i < 0 {
			break
		}
		shortened[i] = true
		before := widths[i]
		widths[i] = shortenDigests(lines, i)
		total -= before - widths[i]
	}
	floors := make([]int, len(widths))
	for i, width := range widths {
		floors[i] = t.floor(lines, i, width)
	}
	for total > limit {
		i := widest(widths, func(i int) bool { return widths[i] > floors[i] })
		if i < 0 {
			break
		}
		widths[i]--
		total--
	}
	for _, line := range lines {
		for i := range line {
			line[i].clean = cut(line[i].clean, widths[i])
		}
	}
}

// widest returns the widest of the columns that may be taken, or -1.
func widest(widths []int, may func(int) bool) int {
	found := -1
	for i, width := range widths {
		if may(i) && (found < 0 || width > widths[found]) {
			found = i
		}
	}
	return found
}

var (
	fullDigest = regexp.MustCompile(`(sha(?:256|512):[0-9a-f]{12})[0-9a-f]{52,}`)
	lastDigest = regexp.MustCompile(`@?sha(?:256|512):[0-9a-f]{12,}$`)
)

// shortenDigests shortens each digest of column i to its first 12 digits and
// returns the width that the column needs then.
func shortenDigests(lines [][]Text, i int) int {
	width := 0
	for _, line := range lines {
		line[i].clean = fullDigest.ReplaceAllString(line[i].clean, "$1")
		width = max(width, cells.StringWidth(line[i].clean))
	}
	return width
}

// floor is the width below which column i may not go: a digest at the end of a
// cell stays whole, with room for the ellipsis and a little of its repository.
func (t *Table) floor(lines [][]Text, i, width int) int {
	if t.columns[i].Right || t.columns[i].Keep {
		return width
	}
	least := min(width, columnFloor)
	for _, line := range lines {
		if at := lastDigest.FindStringIndex(line[i].clean); at != nil {
			least = max(least, len(line[i].clean)-at[0]+min(cells.StringWidth(line[i].clean[:at[0]]), columnFloor))
		}
	}
	return least
}

// cut shortens text to width columns with an ellipsis, at its end or before
// the digest that ends it.
func cut(text string, width int) string {
	if cells.StringWidth(text) <= width {
		return text
	}
	head, tail := text, ""
	if at := lastDigest.FindStringIndex(text); at != nil {
		head, tail = text[:at[0]], text[at[0]:]
	}
	return cells.Truncate(head, width-len(tail), ellipsis) + tail
}
