package ui

import (
	"strings"
	"testing"
)

const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func sampleTable(p Palette) *Table {
	t := NewTable(
		Column{Title: "PLATFORM"}, Column{Title: "WORKER"}, Column{Title: "SIZE", Right: true},
		Column{Title: "DIGEST"}, Column{Title: "STATE"},
	)
	t.Row("linux/amd64", "auto", Bytes(2_345_678), digest, p.Good("built"))
	t.Row("linux/arm64", "rack", Bytes(912), digest, p.Warn("emulated"))
	t.Row("linux/arm/v7", "a worker with a long name that has 日本語 in it", 7, "localhost:5000/team/hello@"+digest, p.Bad("failed"))
	t.Row("linux/arm/v6", "evil\x1b[2Jname\u202e", Bytes(0), "", p.Faint("skipped"))
	t.Row("linux/riscv64")
	return t
}

func TestTableGolden(t *testing.T) {
	t.Parallel()
	for name, traits := range places {
		s, out, _ := Buffers(traits)
		if err := sampleTable(s.Out.Palette).Write(s.Out); err != nil {
			t.Fatal(err)
		}
		golden(t, "table-"+name+".golden", out.Bytes())
	}
}

// A table fits every terminal that has room for its floors, and whole digests
// survive at every width.
func TestTableFits(t *testing.T) {
	t.Parallel()
	for width := 20; width <= 260; width++ {
		s, out, _ := Buffers(Traits{Terminal: true, Width: width})
		if err := sampleTable(s.Out.Palette).Write(s.Out); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(out.String(), "\n") {
			if got := cells.StringWidth(line); width >= 75 && got > width {
				t.Errorf("at %d columns line %d takes %d: %s", width, i, got, line)
			}
			if i >= 1 && i <= 3 && !strings.Contains(line, "sha256:9f86d081884c") {
				t.Errorf("at %d columns line %d lost its digest: %s", width, i, line)
			}
		}
	}
}

// The looks are those of the stream written to, whatever palette made the text.
func TestTableOtherPalette(t *testing.T) {
	t.Parallel()
	color, _, _ := Buffers(Traits{Color: true})
	s, out, _ := Buffers(Traits{})
	if err := sampleTable(color.Out.Palette).Write(s.Out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("escape sequences on a stream without colour: %q", out)
	}
}

func TestTableEmpty(t *testing.T) {
	t.Parallel()
	s, out, _ := Buffers(Traits{})
	table := NewTable(Column{Title: "NAME"})
	if err := table.Write(s.Out); err != nil || out.Len() != 0 {
		t.Errorf("an empty table wrote %q, %v, want nothing", out, err)
	}
	table.Empty = "no devices declared"
	if err := table.Write(s.Out); err != nil || out.String() != "no devices declared\n" {
		t.Errorf("an empty table wrote %q, %v, want its text", out, err)
	}
}

func TestTableTooManyCells(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a row with too many cells was taken")
		}
	}()
	NewTable(Column{Title: "NAME"}).Row("a", "b")
}

func TestCut(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text  string
		width int
		want  string
	}{
		{"short", 10, "short"},
		{"exactly10!", 10, "exactly10!"},
		{"longer than ten", 10, "longer th…"},
		{"日本語テキスト", 8, "日本語…"},
		{"localhost:5000/hello@sha256:0123456789ab", 30, "localhost…@sha256:0123456789ab"},
	}
	for _, tt := range tests {
		if got := cut(tt.text, tt.width); got != tt.want {
			t.Errorf("cut(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}
