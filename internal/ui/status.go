package ui

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// statusEvery is how often a status line is repeated where there is no
// terminal to redraw it on.
const statusEvery = 10 * time.Second

// Status shows what is going on in one line that is redrawn on a terminal, and
// as a line now and then elsewhere. It is safe for concurrent use.
type Status struct {
	mu      sync.Mutex
	w       *Stream
	order   []string
	lines   map[string]string
	printed map[string]time.Time
	drawn   bool
}

// NewStatus writes to w.
func NewStatus(w *Stream) *Status {
	return &Status{w: w, lines: map[string]string{}, printed: map[string]time.Time{}}
}

// Set says what subject is doing.
func (s *Status) Set(subject, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.lines[subject]; !ok {
		s.order = append(s.order, subject)
	}
	s.lines[subject] = line
	if s.w.IsTerminal() {
		s.draw()
		return
	}
	if time.Since(s.printed[subject]) >= statusEvery {
		s.printed[subject] = time.Now()
		fmt.Fprintf(s.w, "%s\n", CleanLines(line))
	}
}

// Print writes a line that stays.
func (s *Status) Print(line string) { s.print(CleanLines(line)) }

// Warn writes a line that stays, as a warning.
func (s *Status) Warn(line string) { s.print(s.w.Warn("warning:").String() + " " + CleanLines(line)) }

func (s *Status) print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.w, "%s\n", s.w.Commands.In(line))
	if s.w.IsTerminal() {
		s.draw()
	}
}

// Done forgets subject.
func (s *Status) Done(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lines, subject)
	delete(s.printed, subject)
	for i, o := range s.order {
		if o == subject {
			s.order = append(s.order[:i], s.order[i+1:]...)
			break
		}
	}
	if s.w.IsTerminal() {
		s.draw()
	}
}

// Close erases the line.
func (s *Status) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
}

func (s *Status) draw() {
	s.erase()
	var parts []string
	for _, o := range s.order {
		parts = append(parts, s.lines[o])
	}
	if len(parts) == 0 {
		return
	}
	fmt.Fprint(s.w, cut(Clean(strings.Join(parts, " · ")), s.w.Width()-1))
	s.drawn = true
}

func (s *Status) erase() {
	if s.drawn {
		fmt.Fprint(s.w, "\r\x1b[2K")
		s.drawn = false
	}
}
