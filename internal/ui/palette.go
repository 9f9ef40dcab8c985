package ui

import "github.com/fatih/color"

// style is what a text means; a Palette gives it its looks.
type style int

const (
	plain style = iota
	good
	bad
	warn
	faint
	bold
	styles // their number
)

// Palette styles text. It uses the terminal's own sixteen colours, never the
// bright ones, white or black, so that it follows a light or dark theme. The
// zero Palette leaves text as it is.
type Palette struct {
	// Commands are how texts name the tasks.
	Commands Commands

	colors [styles]*color.Color
}

func newPalette(on bool) Palette {
	p := Palette{colors: [styles]*color.Color{
		good:  color.New(color.FgGreen),
		bad:   color.New(color.FgRed),
		warn:  color.New(color.FgYellow),
		faint: color.New(color.Faint),
		bold:  color.New(color.Bold),
	}}
	for _, c := range p.colors {
		switch {
		case c == nil:
		case on:
			// color decides by stdout alone unless told otherwise.
			c.EnableColor()
		default:
			c.DisableColor()
		}
	}
	return p
}

// Good styles what went well.
func (p Palette) Good(text string) Text { return p.text(good, text) }

// Bad styles what failed.
func (p Palette) Bad(text string) Text { return p.text(bad, text) }

// Warn styles what deserves a look.
func (p Palette) Warn(text string) Text { return p.text(warn, text) }

// Faint styles what may be overlooked.
func (p Palette) Faint(text string) Text { return p.text(faint, text) }

// Bold styles headings and names.
func (p Palette) Bold(text string) Text { return p.text(bold, text) }

func (p Palette) text(s style, text string) Text {
	return Text{clean: Clean(text), style: s, palette: p}
}

// Text is one line of styled text, made harmless by [Clean]. It can be printed
// with %s or put in a [Table].
type Text struct {
	clean   string
	style   style
	palette Palette
}

// String returns the text with the escape sequences of its palette.
func (t Text) String() string {
	c := t.palette.colors[t.style]
	if c == nil || t.clean == "" {
		return t.clean
	}
	return c.Sprint(t.clean)
}
