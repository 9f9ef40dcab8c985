package ui

import (
	"bytes"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// unknownWidth is the width of a terminal that does not tell its own, in columns.
const unknownWidth = 80

// Streams are the standard streams of one invocation, captured once at the edge of the program.
type Streams struct {
	// In is where answers come from.
	In io.Reader
	// Out is for the machine's result: references, JSON.
	Out *Stream
	// Err is for people: progress, tables, errors.
	Err *Stream
}

// Capture makes Streams from the files of the process. getenv has the meaning
// of os.Getenv; Capture reads NO_COLOR, CLICOLOR, CLICOLOR_FORCE, FORCE_COLOR
// and TERM through it.
func Capture(in, out, err *os.File, getenv func(string) string) *Streams {
	return &Streams{In: in, Out: fileStream(out, getenv), Err: fileStream(err, getenv)}
}

// Buffers makes Streams that write to memory as if to a terminal with the given
// traits, for tests. In is empty.
func Buffers(t Traits) (s *Streams, out, err *bytes.Buffer) {
	out, err = new(bytes.Buffer), new(bytes.Buffer)
	return &Streams{In: new(bytes.Buffer), Out: NewStream(out, t), Err: NewStream(err, t)}, out, err
}

// Traits are what a Stream knows about the place it writes to.
type Traits struct {
	Terminal bool // whether a person watches
	Width    int  // columns; 0 means unknown
	Color    bool // whether escape sequences for colour are understood and wanted
}

// Stream is a writer that knows what it writes to. Each Write is atomic with
// regard to other Writes of the same Stream.
type Stream struct {
	// Palette styles text for this stream.
	Palette

	mu     sync.Mutex
	w      io.Writer
	file   *os.File // nil unless w is a file
	traits Traits
}

// NewStream returns a Stream that writes to w. The zero Traits describe a file
// or a pipe: no terminal, no colour.
func NewStream(w io.Writer, t Traits) *Stream {
	return &Stream{Palette: newPalette(t.Color), w: w, traits: t}
}

func fileStream(f *os.File, getenv func(string) string) *Stream {
	terminal := term.IsTerminal(int(f.Fd()))
	s := NewStream(f, Traits{Terminal: terminal, Color: wantsColor(terminal, getenv)})
	s.file = f
	return s
}

// wantsColor decides by https://no-color.org, https://bixense.com/clicolors and
// the FORCE_COLOR of CI services, the refusal first.
func wantsColor(terminal bool, getenv func(string) string) bool {
	if getenv("NO_COLOR") != "" {
		return false
	}
	for _, name := range []string{"CLICOLOR_FORCE", "FORCE_COLOR"} {
		switch getenv(name) {
		case "", "0", "false":
		default:
			return true
		}
	}
	return terminal && getenv("CLICOLOR") != "0" && getenv("TERM") != "dumb"
}

// Write writes p in one piece.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// IsTerminal says whether a person watches the stream.
func (s *Stream) IsTerminal() bool { return s.traits.Terminal }

// Color says whether colour is on.
func (s *Stream) Color() bool { return s.traits.Color }

// File is the file behind the stream, for displays that drive a terminal
// themselves, or nil.
func (s *Stream) File() *os.File { return s.file }

// Width is the terminal's present width in columns, 80 where it is unknown or
// the stream is no terminal.
func (s *Stream) Width() int {
	if s.traits.Width > 0 {
		return s.traits.Width
	}
	if s.traits.Terminal && s.file != nil {
		// Asked each time, as windows are resized.
		if width, _, err := term.GetSize(int(s.file.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return unknownWidth
}
