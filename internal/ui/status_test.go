package ui

import (
	"strings"
	"testing"
	"time"
)

// Lines break between words, and those behind the first stand below its text.
func TestStatusWraps(t *testing.T) {
	t.Parallel()
	s, _, err := Buffers(Traits{Terminal: true, Width: 24})
	status := NewStatus(s.Err)
	status.Warn("one two three four five six")
	status.Print("assembled something: two platforms")
	const want = "warning: one two three\n         four five six\nassembled something:\n  two platforms\n"
	if err.String() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
}

// What lasts shows for how long; numbers that change do not start it again.
func TestStatusClock(t *testing.T) {
	t.Parallel()
	s, _, out := Buffers(Traits{Terminal: true, Width: 80})
	status := NewStatus(s.Err)
	defer status.Close()
	show := func(subject, line string) string {
		status.Set(subject, line)
		status.mu.Lock()
		defer status.mu.Unlock()
		return out.String()
	}
	show("upload", "uploading: 1 MB of 9 MB")
	status.mu.Lock()
	status.lines["upload"].since = time.Now().Add(-75 * time.Second)
	status.mu.Unlock()
	show("upload", "uploading: 2 MB of 9 MB")
	if got := show("pi", "pi: connecting"); !strings.HasSuffix(got, "uploading: 2 MB of 9 MB (1m 15s) · pi: connecting") {
		t.Errorf("%q", got)
	}
	if got := show("upload", "checking the tags"); !strings.HasSuffix(got, "checking the tags · pi: connecting") {
		t.Errorf("%q", got)
	}
}
