package view_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/archmage-build/archmage/internal/view"
)

// large is the report of a release of 50 targets for four platforms.
func large() *view.Report {
	r := &view.Report{Release: "20260102T030405Z-abcdef", Begun: "2026-01-02 03:04:05 UTC", State: "released", Done: true, Proven: "proven 200 of 200 platforms", Platforms: 200, Size: "4.0 GB"}
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	digest := "sha256:" + strings.Repeat("0a", 32)
	for i := range 50 {
		t := view.Target{Name: fmt.Sprintf("target-%02d", i), Digest: digest, Tags: []string{"registry.example/app:1", "registry.example/app:latest"}}
		for j, platform := range []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"} {
			im := view.Image{Platform: platform, Digest: digest, Size: "20.0 MB", Delta: "+1.0 kB", Trend: "warn", Worker: fmt.Sprintf("w%d", j), Native: true, ProvenOn: "pi", Took: "4.0 s"}
			for range 6 {
				im.Layers = append(im.Layers, view.Layer{Digest: digest, Size: "3.0 MB"})
			}
			t.Images = append(t.Images, im)
			r.Spans = append(r.Spans, view.Span{Lane: im.Worker, Name: t.Name + " " + platform, Begun: begun.Add(time.Duration(i) * time.Second), Took: 3 * time.Second, Class: "bar"})
			r.Verdicts = append(r.Verdicts, view.Verdict{Device: "pi", Target: t.Name, Platform: platform, Case: "--version", Took: "1.0 s", Verdict: "passed", Class: "good", Mark: "✓"})
			r.Moves = append(r.Moves, view.Move{Tag: fmt.Sprintf("registry.example/app:1-%d-%d", i, j), From: digest, To: digest})
		}
		r.Targets = append(r.Targets, t)
	}
	return r
}

func write(t testing.TB, r *view.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A large release is still a page that any mail takes, and loads nothing.
func TestLarge(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	page := write(t, large())
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if len(page) > 1e6 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if m := regexp.MustCompile(`(?i)(?:src|href|url\()\s*=?\s*["']?(?:https?:|//)|<script|@import`).FindString(page); m != "" {
		t.Errorf("the page loads something: %q", m)
	}
}

// What images and devices say of themselves stays text.
func TestHostile(t *testing.T) {
	t.Parallel()
	const bad = `</style><script>alert(1)</script>"'`
	page := write(t, &view.Report{
		Release: bad, Proven: bad, Commit: bad,
		Targets:  []view.Target{{Name: bad, Tags: []string{bad}, Problem: bad, Images: []view.Image{{Platform: bad, Program: bad, Binaries: bad, Worker: bad, Trend: bad, Layers: []view.Layer{{Digest: bad}}}}}},
		Verdicts: []view.Verdict{{Device: bad, Case: bad, Output: bad, Reason: bad, Class: bad}}, Unproven: []string{bad},
		Findings: []view.Finding{{ID: bad, Message: bad, Path: bad, Chain: bad, Evidence: []string{bad}}}, Moves: []view.Move{{Tag: bad, From: bad}},
		Spans: []view.Span{{Lane: bad, Name: bad, Class: bad}},
	})
	if strings.Contains(page, "<script") || strings.Count(page, "</style>") != 1 {
		t.Error("text became markup")
	}
}

// A browser shows the page without a complaint, with all of its figures, and asks
// nobody for anything.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	r := large()
	page := write(t, r)
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked = append(asked, q.URL.Path)
		if q.URL.Path == "/report" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, page)
			return
		}
		w.WriteHeader(http.StatusNoContent) // the icon that browsers ask for
	}))
	defer server.Close()
	cmd := exec.CommandContext(t.Context(), chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
		"--user-data-dir="+t.TempDir(), "--window-size=390,800", "--dump-dom", server.URL+"/report")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if strings.Contains(log.String(), "CONSOLE") {
		t.Errorf("the browser complains:\n%s", log.String())
	}
	dom := out.String()
	for text, n := range map[string]int{"<rect class=\"bar\"": 200, "✓ passed": 200, "<details": 200, "<h3>target-": 50, "scope=\"row\"": 200} {
		if got := strings.Count(dom, text); got != n {
			t.Errorf("%d times %q, want %d", got, text, n)
		}
	}
	for _, path := range asked {
		if path != "/report" && path != "/favicon.ico" {
			t.Errorf("the page asked for %s", path)
		}
	}
}

// The picture holds every span within its frame, those at one time below each
// other.
func TestTimeline(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &view.Report{Spans: []view.Span{
		{Lane: "b", Name: "late", Begun: begun.Add(9 * time.Second), Took: time.Second, Class: "bar"},
		{Lane: "a", Name: "one", Begun: begun, Took: 5 * time.Second, Class: "bar"},
		{Lane: "a", Name: "two", Begun: begun.Add(time.Second), Took: 5 * time.Second, Class: "bar"},
		{Lane: "a", Name: "three", Begun: begun.Add(5 * time.Second), Took: 0, Class: "bar"},
	}}
	write(t, r)
	got := ""
	for _, b := range r.Timeline.Bars {
		got += fmt.Sprintf("%s x=%v y=%d w=%v\n", b.Title, b.X, b.Y, b.Width)
	}
	const want = "one, 5.0 s x=160 y=4 w=410\ntwo, 5.0 s x=242 y=24 w=410\nthree, 0 ms x=570 y=4 w=2\nlate, 1.0 s x=898 y=44 w=82\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if len(r.Timeline.Lanes) != 2 || r.Timeline.Rows[3].After != "9.0 s" {
		t.Errorf("%+v", r.Timeline)
	}
}
