package build

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"
)

func TestTail(t *testing.T) {
	t.Parallel()
	type piece struct {
		stream int
		text   string
	}
	var many []piece
	for i := range 100 {
		many = append(many, piece{1, fmt.Sprintf("%d\n", i)})
	}
	for name, tt := range map[string]struct {
		pieces []piece
		want   []string
	}{
		"lines":               {[]piece{{1, "a\nb\n"}, {1, "c\n"}}, []string{"a", "b", "c"}},
		"a line in pieces":    {[]piece{{1, "a"}, {1, "b"}, {1, "c\nd"}}, []string{"abc", "d"}},
		"an empty line":       {[]piece{{1, "a\n"}, {1, "\n"}, {1, "b"}}, []string{"a", "", "b"}},
		"two streams":         {[]piece{{1, "a"}, {2, "b\n"}, {1, "c\n"}}, []string{"a", "b", "c"}},
		"a progress bar":      {[]piece{{1, "1%\r2%"}, {1, "\r100%\r\n"}, {1, "done\r\n"}}, []string{"100%", "done"}},
		"a bar in pieces":     {[]piece{{1, "1%\r"}, {1, "50%\r"}, {1, "100%\r"}}, []string{"100%"}},
		"a bar that ends":     {[]piece{{1, "1%\r"}, {1, "100%\r"}, {1, "\nb\n"}}, []string{"100%", "b"}},
		"a very long line":    {[]piece{{1, strings.Repeat("x", maxLine+10)}}, []string{strings.Repeat("x", maxLine) + " …"}},
		"cut within a letter": {[]piece{{1, strings.Repeat("x", maxLine-1) + "éé"}}, []string{strings.Repeat("x", maxLine-1) + " …"}},
		"nothing":             {[]piece{{1, ""}}, nil},
	} {
		var got tail
		for _, p := range tt.pieces {
			got.write(p.stream, p.text)
		}
		if diff := cmp.Diff(tt.want, got.last()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	var got tail
	for _, p := range many {
		got.write(p.stream, p.text)
	}
	if len(got.lines) != logLines || got.lines[logLines-1] != "99" {
		t.Errorf("of many lines: %q", got.lines)
	}
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	step := digest.FromString("step")
	before := digest.FromString("before")
	in := &client.SolveStatus{
		Vertexes: []*client.Vertex{
			{Digest: step, Inputs: []digest.Digest{before}, Name: "[stage 1/2] RUN make", Started: &now},
			{Digest: before, Name: "exporting to image", ProgressGroup: &pb.ProgressGroup{Id: "group", Name: "[internal] load"}},
		},
		Statuses: []*client.VertexStatus{{ID: "layer", Vertex: step}},
		Logs:     []*client.VertexLog{{Vertex: step, Data: []byte("said")}},
		Warnings: []*client.VertexWarning{{Vertex: step}},
	}
	one := (&stream{prefix: "app linux/amd64"}).translate(in)
	two := (&stream{prefix: "app linux/arm64"}).translate(in)
	if one.Vertexes[0].Digest == two.Vertexes[0].Digest || one.Vertexes[0].Digest == step || one.Vertexes[1].ProgressGroup.Id == two.Vertexes[1].ProgressGroup.Id {
		t.Errorf("two builds share a step: %+v, %+v", one.Vertexes[0], two.Vertexes[0])
	}
	own := one.Vertexes[0].Digest
	if one.Vertexes[0].Inputs[0] != one.Vertexes[1].Digest || one.Statuses[0].Vertex != own || one.Logs[0].Vertex != own || one.Warnings[0].Vertex != own {
		t.Errorf("%+v does not hang together", one)
	}
	if got := one.Vertexes[0].Name; got != "[app linux/amd64 stage 1/2] RUN make" {
		t.Errorf("name %q", got)
	}
	if got := one.Vertexes[1].Name; got != "[app linux/amd64] exporting to image" {
		t.Errorf("name %q", got)
	}
	if in.Vertexes[0].Digest != step || in.Vertexes[0].Name != "[stage 1/2] RUN make" {
		t.Errorf("the original was changed: %+v", in.Vertexes[0])
	}
}

// brokenWriter is a terminal that went away.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("the terminal went away") }

func TestDisplayCloses(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ModeAuto, ModePlain, ModeQuiet} {
		d, err := NewDisplay(brokenWriter{}, mode)
		if err != nil {
			t.Fatal(err)
		}
		var builds sync.WaitGroup
		for i := range 8 {
			builds.Go(func() {
				s := d.step(fmt.Sprintf("app %d", i), "prepare")
				for range 200 {
					s.log("line")
				}
				s.done(nil)
			})
		}
		builds.Wait()
		closed := make(chan struct{})
		go func() { d.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: Close hangs", mode)
		}
	}
	if _, err := NewDisplay(&bytes.Buffer{}, ModeTTY); err == nil {
		t.Error("a buffer is no terminal")
	}
	if _, err := NewDisplay(&bytes.Buffer{}, "fancy"); err == nil || !strings.Contains(err.Error(), "fancy") {
		t.Errorf("mode fancy: %v", err)
	}
}

// A solve that was given up may speak while the display closes and long after.
func TestDisplayHearsNothingLate(t *testing.T) {
	t.Parallel()
	d, err := NewDisplay(&bytes.Buffer{}, ModePlain)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan struct{})
	var late sync.WaitGroup
	for i := range 8 {
		s := d.start(fmt.Sprintf("app %d", i), "rack")
		local := d.step(fmt.Sprintf("app %d", i), "prepare")
		late.Go(func() {
			speak := func() {
				s.channel <- &client.SolveStatus{Vertexes: []*client.Vertex{{Digest: digest.FromString("step"), Name: "RUN make"}}}
				local.log("line")
			}
			for range 100 {
				speak()
			}
			<-said
			for range 100 {
				speak()
			}
			d.Moved("app", "rack", errors.New("it was lost"))
			local.done(nil)
			close(s.channel)
			s.wait()
		})
	}
	d.Close()
	close(said)
	ended := make(chan struct{})
	go func() { late.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("who speaks late waits for a display that is closed")
	}
}

// Two builds that share every step are shown apart, each line with its own.
func TestDisplayOfTwoBuilds(t *testing.T) {
	t.Parallel()
	r := shell(t, "RUN echo said by the step; /busybox sleep 0.3\n")
	list := builds(t, r.spec(`platforms = ["linux/amd64", "linux/arm64"]`))
	d, err := NewDisplay(&r.output, ModePlain)
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	for _, b := range list {
		both.Go(func() {
			if _, err := r.run(t.Context(), b, nil, d); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	d.Close()
	out := r.output.String()
	for _, b := range list {
		for _, step := range []string{" internal] load build definition from Dockerfile", " 2/2] RUN echo said", "] exporting to image"} {
			if want := "[" + b.ID() + step; !strings.Contains(out, want) {
				t.Errorf("no line %q in:\n%s", want, out)
			}
		}
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "] ") && strings.HasPrefix(line, "#") && !strings.Contains(line, "[app linux/a") {
			t.Errorf("a line without its build: %q", line)
		}
	}
}

// A build leaves no goroutine behind, whether it succeeds or fails.
func TestNoGoroutineLeft(t *testing.T) {
	dir := files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", "Broken": "FROM scratch\nCOPY not-there /\n"})
	r := newRig(t, dir)
	// The connection is there before and after.
	if _, err := r.client.ListWorkers(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	for body, fails := range map[string]bool{"": false, `dockerfile = "Broken"`: true, `dockerfile = "not-there"`: true} {
		if _, err := r.try(r.spec(body)); (err != nil) != fails {
			t.Errorf("%q: %v", body, err)
		}
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func FuzzTail(f *testing.F) {
	f.Add("a\nb", "c\r\n", true)
	f.Add("\r\r", "\r\n\r", false)
	f.Add(strings.Repeat("é", maxLine), "\xff\n", true)
	f.Fuzz(func(t *testing.T, one, two string, same bool) {
		var got tail
		got.write(1, one)
		stream := 2
		if same {
			stream = 1
		}
		got.write(stream, two)
		if len(got.last()) > logLines {
			t.Errorf("%d lines", len(got.last()))
		}
		for _, line := range got.last() {
			if len(line) > maxLine+len(" …") || strings.ContainsAny(line, "\r\n") {
				t.Errorf("line %.40q of %d bytes", line, len(line))
			}
		}
	})
}
