package ui

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

type curable struct{ what, next string }

func (c curable) Error() string  { return c.what }
func (c curable) Remedy() string { return c.next }

func TestErrorGolden(t *testing.T) {
	t.Parallel()
	denied := curable{"GET https://localhost:5000/v2/: 401 Unauthorized", "log in with docker login localhost:5000"}
	full := curable{"no space left on device", "free space with mage wipe -workers"}
	err := fmt.Errorf("building %q: %w", "hello", errors.Join(
		fmt.Errorf("pushing %q: %w", "linux/arm64", denied),
		fmt.Errorf("pushing %q: %w", "linux/arm/v7", denied),
		fmt.Errorf("solving %q: process printed\x1b[2J\r\n\tline two\n\nline four: %w", "linux/arm/v6", full),
	))
	for name, traits := range places {
		s, _, _ := Buffers(traits)
		golden(t, "error-"+name+".golden", []byte(Error(s.Err.Palette, err)+"\n"))
	}
}

// stacked prints a stack with %+v, as pkg/errors does.
type stacked struct{}

func (stacked) Error() string { return "boom" }
func (stacked) Format(f fmt.State, _ rune) {
	fmt.Fprint(f, "boom\n/root/go/src/main.go:12")
}

func TestError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  error
		want string
	}{
		{errors.New("one line"), "one line"},
		{errors.New(""), ""},
		{stacked{}, "boom"},
		{curable{"broken", " "}, "broken"},
		{fmt.Errorf("outer: %w", curable{"broken", "fix it"}), "outer: broken\nhint: fix it"},
	}
	for _, tt := range tests {
		if got := Error(Palette{}, tt.err); got != tt.want {
			t.Errorf("Error(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
	s, _, _ := Buffers(Traits{Color: true})
	if got := Error(s.Err.Palette, errors.New("broken")); !strings.HasPrefix(got, "\x1b[31mbroken") {
		t.Errorf("Error with colour is %q, want red", got)
	}
}
