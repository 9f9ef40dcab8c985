package build

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/log"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"
)

// logLines is how much of a step's output an error repeats.
const logLines = 30

// Display shows all builds of a release at once, each line with the target and
// the platform it belongs to.
type Display struct {
	// NameWorkers puts the worker on each line too, which tells something where
	// there are several.
	NameWorkers bool

	// statuses is never closed: an abandoned solve may speak long after Close.
	statuses chan *client.SolveStatus
	closing  chan struct{}
	finished chan struct{}
}

// Mode is how progress is shown.
type Mode string

// The modes of https://docs.docker.com/reference/cli/docker/buildx/build/#progress
// that make sense here.
const (
	ModeAuto  Mode = "auto"
	ModePlain Mode = "plain"
	ModeTTY   Mode = "tty"
	ModeQuiet Mode = "quiet"
)

// NewDisplay draws on out, as a terminal where it is one and mode allows.
// Close it to let it finish its report.
func NewDisplay(out io.Writer, mode Mode) (*Display, error) {
	ui, err := progressui.NewDisplay(out, progressui.DisplayMode(mode), progressui.WithPhase("Building"))
	if err != nil {
		return nil, flat(err)
	}
	// BuildKit's client library warns past the display, into a live one.
	if err := log.SetLevel(log.ErrorLevel.String()); err != nil {
		return nil, err
	}
	d := &Display{statuses: make(chan *client.SolveStatus, 16), closing: make(chan struct{}), finished: make(chan struct{})}
	shown := make(chan *client.SolveStatus)
	go d.forward(shown)
	go func() {
		defer close(d.finished)
		// Not the release's context: an interrupted build is still reported to
		// its end. The warnings are in the log already.
		_, _ = ui.UpdateFrom(context.Background(), shown)
		for range shown { // whatever became of the terminal, nobody waits for it
		}
	}()
	return d, nil
}

// forward is the only sender on shown, so only it may close it.
func (d *Display) forward(shown chan<- *client.SolveStatus) {
	defer close(shown)
	for {
		select {
		case st := <-d.statuses:
			shown <- st
			continue
		case <-d.closing:
		}
		for {
			select {
			case st := <-d.statuses:
				shown <- st
			default:
				return
			}
		}
	}
}

// send shows st, or drops it where the display is closed.
func (d *Display) send(st *client.SolveStatus) {
	select {
	case d.statuses <- st:
	case <-d.closing:
	}
}

// Close ends the display once everything it was given is shown. What comes
// later is dropped.
func (d *Display) Close() {
	close(d.closing)
	<-d.finished
}

// stream is the display's view of one solve.
type stream struct {
	channel chan *client.SolveStatus
	ended   chan struct{}
	prefix  string
	// together are several platforms, which their steps name.
	together bool

	mu    sync.Mutex
	steps map[digest.Digest]*step
}

type step struct {
	name   string
	cached bool
	reason string
	log    tail
}

// tail keeps the last lines of an output that comes in pieces.
type tail struct {
	lines []string
	open  int // the stream that the last line is of and has no end on yet
}

// write appends what came on a stream, 1 or 2. Of a line that was rewritten in
// place, a progress bar for one, the last state counts.
func (t *tail) write(stream int, text string) {
	for line := range strings.Lines(text) {
		line, end := strings.CutSuffix(line, "\n")
		switch last := len(t.lines) - 1; t.open {
		case 0:
		case stream:
			line = t.lines[last] + line
			t.lines = t.lines[:last]
		default:
			t.lines[last] = strings.TrimRight(t.lines[last], "\r")
		}
		state := strings.TrimRight(line, "\r")
		rewritten := len(state) < len(line)
		state = state[strings.LastIndexByte(state, '\r')+1:]
		if len(state) > maxLine {
			state = strings.ToValidUTF8(state[:maxLine], "") + " …"
		}
		t.open = 0
		if !end {
			t.open = stream
			if rewritten {
				state += "\r"
			}
		}
		t.lines = append(t.lines, state)
	}
	t.lines = t.lines[max(0, len(t.lines)-logLines):]
}

// last returns the lines.
func (t *tail) last() []string {
	out := slices.Clone(t.lines)
	if n := len(out); n > 0 {
		out[n-1] = strings.TrimRight(out[n-1], "\r")
	}
	return out
}

// start gives BuildKit a channel of its own for a build: Solve closes it.
func (d *Display) start(build, worker string) *stream { return d.open(build, worker, false) }

// startAll does so for several platforms of a target.
func (d *Display) startAll(target, worker string) *stream { return d.open(target, worker, true) }

func (d *Display) open(build, worker string, together bool) *stream {
	if d.NameWorkers {
		build += " on " + worker
	}
	s := &stream{
		channel:  make(chan *client.SolveStatus),
		ended:    make(chan struct{}),
		prefix:   build,
		together: together,
		steps:    map[digest.Digest]*step{},
	}
	go func() {
		defer close(s.ended)
		for st := range s.channel {
			s.record(st)
			d.send(s.translate(st))
		}
	}()
	return s
}

func (s *stream) wait() { <-s.ended }

func (s *stream) record(st *client.SolveStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := func(d digest.Digest) *step {
		if s.steps[d] == nil {
			s.steps[d] = &step{}
		}
		return s.steps[d]
	}
	for _, v := range st.Vertexes {
		p := at(v.Digest)
		p.name = v.Name
		p.cached = p.cached || v.Cached
		if v.Error != "" {
			p.reason = v.Error
		}
	}
	for _, l := range st.Logs {
		p := at(l.Vertex)
		p.log.write(l.Stream, string(l.Data))
	}
}

// translate makes the vertices of this solve its own, so that platforms that
// share a step are shown apart, and names the build on each line.
func (s *stream) translate(st *client.SolveStatus) *client.SolveStatus {
	own := func(d digest.Digest) digest.Digest {
		if d == "" {
			return ""
		}
		return digest.FromString(s.prefix + "\x00" + d.String())
	}
	out := &client.SolveStatus{}
	for _, v := range st.Vertexes {
		c := *v
		c.Digest, c.Name = own(v.Digest), prefixed(s.prefix, v.Name)
		if g := v.ProgressGroup; g != nil {
			c.ProgressGroup = &pb.ProgressGroup{Id: s.prefix + " " + g.Id, Name: prefixed(s.prefix, g.Name), Weak: g.Weak}
		}
		c.Inputs = nil
		for _, in := range v.Inputs {
			c.Inputs = append(c.Inputs, own(in))
		}
		out.Vertexes = append(out.Vertexes, &c)
	}
	for _, v := range st.Statuses {
		c := *v
		c.Vertex = own(v.Vertex)
		out.Statuses = append(out.Statuses, &c)
	}
	for _, l := range st.Logs {
		c := *l
		c.Vertex = own(l.Vertex)
		out.Logs = append(out.Logs, &c)
	}
	for _, w := range st.Warnings {
		c := *w
		c.Vertex = own(w.Vertex)
		out.Warnings = append(out.Warnings, &c)
	}
	return out
}

func prefixed(prefix, name string) string {
	if rest, ok := strings.CutPrefix(name, "["); ok {
		return "[" + prefix + " " + rest
	}
	return "[" + prefix + "] " + name
}

// begun reports whether the daemon has told of any step.
func (s *stream) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.steps) > 0
}

// failed is the step that ended the solve of a platform with err, or nil. Others
// may have failed without ending it: a cache that was not there.
func (s *stream) failed(err error, platform string) *step {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v *errdefs.VertexError
	if errors.As(err, &v) {
		if p := s.steps[digest.Digest(v.Digest)]; p != nil && p.reason != "" {
			return p
		}
	}
	text := flat(err).Error()
	for _, p := range s.steps {
		if p.reason != "" && strings.Contains(text, p.reason) && (!s.together || p.of(platform)) {
			return p
		}
	}
	return nil
}

// of reports whether a step is one of a platform, of which several are solved
// together: "[linux/arm/v7 2/3] RUN …", or in a stage of the worker's own platform
// "[linux/amd64->arm/v7 build 2/3] RUN …". What names none is of all.
// https://github.com/moby/buildkit/blob/master/frontend/dockerfile/dockerfile2llb/convert.go
func (p *step) of(platform string) bool {
	on, _, _ := strings.Cut(strings.TrimPrefix(p.name, "["), " ")
	_, target, cross := strings.Cut(on, "->")
	return on == platform || !strings.Contains(on, "/") || (cross && strings.HasSuffix("/"+platform, "/"+target))
}

// title is the step's name without the platform.
func (p *step) title(platform string) string {
	return strings.Replace(p.name, "["+platform+" ", "[", 1)
}

// counts are the steps of the Dockerfile for a platform, and how many came from
// the cache. Where several are solved together and no step names this one, it
// shares the steps of the others, so they are all.
func (s *stream) counts(platform string) (steps, cached int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, allCached := 0, 0
	for _, p := range s.steps {
		if !strings.HasPrefix(p.name, "[") || strings.HasPrefix(p.name, "[internal]") || strings.HasPrefix(p.name, "[auth]") {
			continue
		}
		own := !s.together || p.of(platform)
		all++
		if own {
			steps++
		}
		if p.cached {
			allCached++
			if own {
				cached++
			}
		}
	}
	if steps == 0 {
		return all, allCached
	}
	return steps, cached
}

// localStep is a step that runs on the workstation, shown among the others.
type localStep struct {
	display *Display
	vertex  client.Vertex

	mu  sync.Mutex
	out tail
}

func (d *Display) step(build, name string) *localStep {
	now := time.Now()
	s := &localStep{display: d, vertex: client.Vertex{
		Digest:  digest.FromString(identity.NewID()),
		Name:    prefixed(build, name),
		Started: &now,
	}}
	s.send(nil)
	return s
}

func (s *localStep) send(logs []*client.VertexLog) {
	v := s.vertex
	s.display.send(&client.SolveStatus{Vertexes: []*client.Vertex{&v}, Logs: logs})
}

func (s *localStep) log(line string) {
	s.mu.Lock()
	s.out.write(1, line+"\n")
	s.mu.Unlock()
	s.send([]*client.VertexLog{{Vertex: s.vertex.Digest, Stream: 1, Data: []byte(line + "\n"), Timestamp: time.Now()}})
}

func (s *localStep) done(err error) {
	now := time.Now()
	s.vertex.Completed = &now
	if err != nil {
		s.vertex.Error = err.Error()
	}
	s.send(nil)
}

func (s *localStep) tail() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.last()
}

// Moved shows that a build goes on elsewhere, because its worker is gone.
func (d *Display) Moved(build, from string, why error) {
	s := d.step(build, "moved away from worker "+from)
	s.log(why.Error())
	s.done(nil)
}
