package ui

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestWantsColor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		terminal bool
		env      map[string]string
		want     bool
	}{
		{"terminal", true, nil, true},
		{"pipe", false, nil, false},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, false},
		{"empty NO_COLOR", true, map[string]string{"NO_COLOR": ""}, true},
		{"dumb", true, map[string]string{"TERM": "dumb"}, false},
		{"CLICOLOR=0", true, map[string]string{"CLICOLOR": "0"}, false},
		{"CLICOLOR=1 in a pipe", false, map[string]string{"CLICOLOR": "1"}, false},
		{"CLICOLOR_FORCE", false, map[string]string{"CLICOLOR_FORCE": "1"}, true},
		{"CLICOLOR_FORCE=0", false, map[string]string{"CLICOLOR_FORCE": "0"}, false},
		{"FORCE_COLOR", false, map[string]string{"FORCE_COLOR": "3"}, true},
		{"FORCE_COLOR=false", false, map[string]string{"FORCE_COLOR": "false"}, false},
		{"forced and dumb", false, map[string]string{"FORCE_COLOR": "1", "TERM": "dumb"}, true},
		{"refused and forced", true, map[string]string{"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, false},
	}
	for _, tt := range tests {
		if got := wantsColor(tt.terminal, func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("%s: wantsColor = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestCaptureFile(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := Capture(f, f, f, func(string) string { return "" })
	if s.Out.IsTerminal() || s.Out.Color() || s.Out.Width() != 80 || s.Out.File() != f {
		t.Errorf("a file is %+v with width %d, want no terminal, no colour, 80 columns", s.Out.traits, s.Out.Width())
	}
	forced := Capture(f, f, f, func(name string) string {
		return map[string]string{"FORCE_COLOR": "1"}[name]
	})
	if got := forced.Err.Good("yes").String(); got != "\x1b[32myes\x1b[0m" {
		t.Errorf("forced colour gave %q", got)
	}
}

// Colour is decided per stream: one in colour, the other not, in one process.
func TestPalette(t *testing.T) {
	t.Parallel()
	color, plain := NewStream(nil, Traits{Color: true}), NewStream(nil, Traits{})
	var zero Palette
	for name, style := range map[string]func(Palette, string) Text{
		"Good": Palette.Good, "Bad": Palette.Bad, "Warn": Palette.Warn, "Faint": Palette.Faint, "Bold": Palette.Bold,
	} {
		if got := fmt.Sprint(style(color.Palette, "x\x1b")); !strings.HasPrefix(got, "\x1b[") || !strings.Contains(got, `x\x1b`) {
			t.Errorf("%s in colour = %q, want a styled and cleaned text", name, got)
		}
		for _, p := range []Palette{plain.Palette, zero} {
			if got := style(p, "x").String(); got != "x" {
				t.Errorf("%s without colour = %q, want it plain", name, got)
			}
		}
		if got := style(color.Palette, "").String(); got != "" {
			t.Errorf("%s of nothing = %q, want nothing", name, got)
		}
	}
}

// Lines of several goroutines do not mix.
func TestStreamConcurrent(t *testing.T) {
	t.Parallel()
	s, out, _ := Buffers(Traits{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				fmt.Fprintf(s.Out, "%s %s\n", strings.Repeat("a", 20), strings.Repeat("b", 20))
			}
		})
	}
	group.Wait()
	want := strings.Repeat(strings.Repeat("a", 20)+" "+strings.Repeat("b", 20)+"\n", 800)
	if out.String() != want {
		t.Error("lines are mixed")
	}
}
