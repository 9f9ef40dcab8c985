package ui

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// statusEvery is how often a status line is repeated where there is no
	// terminal to redraw it on.
	statusEvery = 10 * time.Second
	// statusTick is how often a terminal's line is redrawn for its clock.
	statusTick = time.Second
	// statusClock is how long something lasts before its line shows for how long.
	statusClock = 2 * time.Second
)

// Status shows what is going on in one line that is redrawn on a terminal, and
// as a line now and then elsewhere, with the time that it has taken so far. It is
// safe for concurrent use.
type Status struct {
	mu    sync.Mutex
	w     *Stream
	order []string
	lines map[string]*statusLine
	drawn bool
	stop  chan struct{} // ends the clock; nil while nothing is going on
}

type statusLine struct {
	text    string
	since   time.Time // when text became what it is, but for its numbers
	printed time.Time
}

// NewStatus writes to w.
func NewStatus(w *Stream) *Status {
	return &Status{w: w, lines: map[string]*statusLine{}}
}

// Set says what subject is doing.
func (s *Status) Set(subject, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	l := s.lines[subject]
	switch {
	case l == nil:
		s.order = append(s.order, subject)
		l = &statusLine{text: line, since: now}
		s.lines[subject] = l
	case withoutNumbers(l.text) != withoutNumbers(line):
		l.since = now
	}
	l.text = line
	if s.stop == nil {
		s.stop = make(chan struct{})
		go s.clock(s.stop)
	}
	if s.w.IsTerminal() {
		s.draw()
		return
	}
	s.repeat(l, now)
}

// clock shows that time passes, until stop is closed.
func (s *Status) clock(stop chan struct{}) {
	tick := time.NewTicker(statusTick)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		select {
		case <-stop: // while the lock was waited for
			s.mu.Unlock()
			return
		default:
		}
		if s.w.IsTerminal() {
			s.draw()
		} else {
			for _, o := range s.order {
				s.repeat(s.lines[o], time.Now())
			}
		}
		s.mu.Unlock()
	}
}

// repeat prints a line where the last time was long ago.
func (s *Status) repeat(l *statusLine, now time.Time) {
	if now.Sub(l.printed) >= statusEvery {
		l.printed = now
		fmt.Fprintf(s.w, "%s\n", CleanLines(l.String()))
	}
}

// String is the line with its clock.
func (l *statusLine) String() string {
	took := time.Since(l.since)
	if took < statusClock {
		return l.text
	}
	return fmt.Sprintf("%s (%s)", l.text, Seconds(took))
}

func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' {
			return -1
		}
		return r
	}, text)
}

// Print writes a line that stays.
func (s *Status) Print(line string) { s.print(s.wrap(line, 0, 2)) }

// Warn writes a line that stays, as a warning.
func (s *Status) Warn(line string) {
	const head = "warning: "
	s.print(s.w.Warn("warning:").String() + " " + s.wrap(line, len(head), len(head)))
}

// wrap makes a line clean and, on a terminal that it is too wide for, breaks it
// between words: before is what stands ahead of it, the lines that follow begin
// with indent blanks.
func (s *Status) wrap(line string, before, indent int) string {
	line = CleanLines(s.w.Commands.In(line))
	if !s.w.IsTerminal() || strings.Contains(line, "\n") || before+cells.StringWidth(line) <= s.w.Width() {
		return line
	}
	return strings.Join(Wrap(line, s.w.Width()-max(before, indent)), "\n"+strings.Repeat(" ", indent))
}

func (s *Status) print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.w, "%s\n", line)
	if s.w.IsTerminal() {
		s.draw()
	}
}

// Done forgets subject.
func (s *Status) Done(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lines, subject)
	for i, o := range s.order {
		if o == subject {
			s.order = append(s.order[:i], s.order[i+1:]...)
			break
		}
	}
	if len(s.order) == 0 {
		s.end()
	}
	if s.w.IsTerminal() {
		s.draw()
	}
}

// Close erases the line and forgets all subjects.
func (s *Status) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = nil
	clear(s.lines)
	s.end()
	s.erase()
}

func (s *Status) end() {
	if s.stop != nil {
		close(s.stop)
		s.stop = nil
	}
}

func (s *Status) draw() {
	s.erase()
	var parts []string
	for _, o := range s.order {
		parts = append(parts, s.lines[o].String())
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
