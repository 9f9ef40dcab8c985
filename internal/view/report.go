// Package view draws the page of a release: values in, text out.
package view

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"
)

// Report is all that the page of a release says. Sizes and times are in words
// already, as on a terminal.
type Report struct {
	Release, Begun, State, Proven, Commit, Size string
	// Done reports that all of it came to its end.
	Done, Dirty      bool
	Platforms, Moved int
	Targets          []Target
	Spans            []Span
	Verdicts         []Verdict
	Unproven         []string
	Findings         []Finding
	Moves            []Move
	// Timeline is drawn from Spans; nil where there are none.
	Timeline *Timeline
}

// Target is one index.
type Target struct {
	Name, Digest string
	Tags         []string
	Images       []Image
	// Problem says why less is known of it.
	Problem string
}

// Image is one platform of a target.
type Image struct {
	Platform, Digest, Size, Took, Worker, ProvenOn, Program, Binaries string
	// Delta is the difference to the release before; Trend its class.
	Delta, Trend string
	Native       bool
	Layers       []Layer
}

// Layer is one of an image; New ones the image before it did not have.
type Layer struct {
	Digest, Size string
	New          bool
}

// Span is something that ran: a build on a worker, a case on a device.
type Span struct {
	Lane, Name string
	Begun      time.Time
	Took       time.Duration
	// Class is bar, proof or fail.
	Class string
}

// Verdict is one case on one device.
type Verdict struct {
	Device, Target, Platform, Case, Took, Verdict, Class, Mark, Reason, Output string
}

// Finding is one of the audit.
type Finding struct {
	ID, Severity, Class, Where, Message, Path, Layer, Chain string
	Evidence                                                []string
}

// Move is a tag.
type Move struct{ Tag, From, To string }

// Timeline is the picture of the spans, in units of its view box.
type Timeline struct {
	Span                  string
	Height, Bottom, Label int
	Lanes                 []Lane
	Bars                  []Bar
	Marks                 []Mark
	Rows                  []Row
}

// Lane is a place in the picture, Bar what ran there, Mark a time below it; Row
// says the same as text.
type (
	Lane struct {
		Name string
		Y    int
	}
	Bar struct {
		X, Width float64
		Y        int
		Class    string
		Title    string
	}
	Mark struct {
		X    float64
		Text string
	}
	Row struct{ Lane, Name, After, Took string }
)

//go:embed report.html
var page string

var report = template.Must(template.New("report").Parse(page))

// Write writes the page: one file of HTML, which loads nothing.
func (r *Report) Write(w io.Writer) error {
	r.Timeline = timeline(r.Spans)
	if err := report.Execute(w, r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

const (
	laneHeight = 20
	left       = 160.0 // the width of the names
	right      = 980.0
)

func timeline(spans []Span) *Timeline {
	if len(spans) == 0 {
		return nil
	}
	spans = slices.Clone(spans)
	slices.SortStableFunc(spans, func(a, b Span) int { return a.Begun.Compare(b.Begun) })
	begin, end := spans[0].Begun, spans[0].Begun
	for _, s := range spans {
		if last := s.Begun.Add(s.Took); last.After(end) {
			end = last
		}
	}
	total := max(end.Sub(begin), time.Millisecond)
	x := func(at time.Time) float64 {
		return round(left + (right-left)*float64(at.Sub(begin))/float64(total))
	}
	t := &Timeline{Span: words(total)}
	// What runs side by side in one place has a line each.
	type line struct {
		lane string
		free time.Time
	}
	var lines []line
	for _, s := range spans {
		i := slices.IndexFunc(lines, func(l line) bool { return l.lane == s.Lane && !l.free.After(s.Begun) })
		if i < 0 {
			i = len(lines)
			lines = append(lines, line{lane: s.Lane})
		}
		lines[i].free = s.Begun.Add(s.Took)
		t.Bars = append(t.Bars, Bar{X: x(s.Begun), Width: max(2, round(x(s.Begun.Add(s.Took))-x(s.Begun))), Y: i, Class: s.Class, Title: s.Name + ", " + words(s.Took)})
		t.Rows = append(t.Rows, Row{s.Lane, s.Name, words(s.Begun.Sub(begin)), words(s.Took)})
	}
	order := make([]int, len(lines)) // lines of one lane stand together
	for i := range order {
		order[i] = i
	}
	first := map[string]int{}
	for i, l := range lines {
		if _, ok := first[l.lane]; !ok {
			first[l.lane] = i
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return first[lines[a].lane] - first[lines[b].lane] })
	place := make([]int, len(lines))
	for y, i := range order {
		place[i] = y
		if first[lines[i].lane] == i {
			t.Lanes = append(t.Lanes, Lane{lines[i].lane, y*laneHeight + 15})
		}
	}
	for i := range t.Bars {
		t.Bars[i].Y = place[t.Bars[i].Y]*laneHeight + 4
	}
	t.Bottom = len(lines)*laneHeight + 4
	t.Label, t.Height = t.Bottom+14, t.Bottom+20
	for i := range 5 {
		part := total * time.Duration(i) / 4
		t.Marks = append(t.Marks, Mark{x(begin.Add(part)), words(part)})
	}
	return t
}

func round(f float64) float64 { return float64(int(f*10+0.5)) / 10 }

func words(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%dm %02ds", d/time.Minute, d%time.Minute/time.Second)
}
