package journal

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func move(tag string, from, to digest.Digest) Move {
	return Move{Target: "app", Tag: "r/app:" + tag, Digest: to, Previous: from}
}

func at(pairs ...string) Tags {
	out := Tags{}
	for i := 0; i < len(pairs); i += 2 {
		out["r/app:"+pairs[i]] = digest.Digest(pairs[i+1])
	}
	return out
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		before, now Tags
		want        []Found
	}{
		{"as it was", at("1", "", "latest", "a"), at("1", "", "latest", "a"), nil},
		{"there already", at("1", "", "latest", "a"), at("1", "b", "latest", "b"), nil},
		{"moved by another", at("1", "", "latest", "a"), at("1", "", "latest", "x"), []Found{{"r/app:latest", "a", "x"}}},
		{"made by another", at("1", "", "latest", "a"), at("1", "x", "latest", "a"), []Found{{"r/app:1", "", "x"}}},
		{"deleted by another", at("1", "", "latest", "a"), at("1", "", "latest", ""), []Found{{"r/app:latest", "a", ""}}},
		{"not known before", at("1", ""), at("1", "", "latest", "x"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := Conflicts([]Move{move("1", "", "b"), move("latest", "a", "b")}, tt.before, tt.now)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a killed promotion left, by kind and by what the tags point to.
func TestClose(t *testing.T) {
	t.Parallel()
	moves := []Move{move("1", "", "b"), move("2", "b", "b"), move("latest", "a", "b")}
	tests := []struct {
		name  string
		kind  Kind
		now   Tags
		stuck []Move
		want  Closing
	}{
		{"nothing moved", Release, at("1", "", "2", "b", "latest", "a"), nil, Closing{Untouched: true}},
		{"half moved", Release, at("1", "b", "2", "b", "latest", "a"), nil, Closing{Moves: []Move{move("1", "b", "")}}},
		{"all moved", Release, at("1", "b", "2", "b", "latest", "b"), nil, Closing{Complete: true}},
		{"one taken", Release, at("1", "b", "2", "b", "latest", "x"), nil,
			Closing{Moves: []Move{move("1", "b", "")}, Taken: []Found{{"r/app:latest", "b", "x"}}}},
		{"an unmoved one taken", Release, at("1", "", "2", "x", "latest", "a"), nil,
			Closing{Untouched: true, Taken: []Found{{"r/app:2", "b", "x"}}}},
		{"over what was stuck", Release, at("1", "c", "2", "b", "latest", "a"), []Move{move("1", "", "c")},
			Closing{Untouched: true, Moves: []Move{move("1", "c", "")}}},
		{"what was stuck has gone", Release, at("1", "", "2", "b", "latest", "a"), []Move{move("1", "", "c")}, Closing{Untouched: true}},
		{"rollback, nothing moved", Rollback, at("1", "", "2", "b", "latest", "a"), nil, Closing{Untouched: true}},
		{"rollback, half moved", Rollback, at("1", "b", "2", "b", "latest", "a"), nil, Closing{Moves: []Move{move("latest", "a", "b")}}},
		{"rollback, all moved", Rollback, at("1", "b", "2", "b", "latest", "b"), nil, Closing{Complete: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &Record{Kind: tt.kind, Step: Promoting, Moves: moves, Stuck: tt.stuck}
			if !r.Open() {
				t.Error("the record is not open")
			}
			if diff := cmp.Diff(tt.want, Close(r, tt.now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A tag that cannot be put back stays known, and what comes after it is undone
// to what was there before it.
func TestStuck(t *testing.T) {
	t.Parallel()
	r := &Record{Kind: Release, Step: Promoting, Before: at("1", "", "latest", "a"), Moves: []Move{move("1", "", "b"), move("latest", "a", "b")}}
	c := Close(r, at("1", "b", "latest", "a"))
	r.Settle(c, c.Moves)
	if diff := cmp.Diff([]Move{move("1", "", "b")}, r.Stuck); diff != "" {
		t.Error(diff)
	}
	if !r.Open() || r.Closed() || len(r.Moves) > 0 {
		t.Errorf("step %s, %d moves", r.Step, len(r.Moves))
	}
	now := at("1", "b", "latest", "a")
	if c := Conflicts([]Move{move("1", "b", "c")}, r.Before, now); len(c) > 0 {
		t.Errorf("its own tag is in conflict: %v", c)
	}
	r.Promote([]Move{move("1", "b", "c"), move("latest", "a", "c")}, nil)
	if diff := cmp.Diff([]Move{move("1", "", "c"), move("latest", "a", "c")}, r.Moves); diff != "" {
		t.Error(diff)
	}
	// Killed before the first of them is written: the tag is still our own.
	if c := Close(r, now); len(c.Taken) > 0 || !c.Untouched {
		t.Errorf("closing %+v", c)
	}
	r.Finish()
	if len(r.Stuck) > 0 || !r.Closed() {
		t.Errorf("after it was published, stuck: %v", r.Stuck)
	}
}

func TestHalves(t *testing.T) {
	t.Parallel()
	arch := move("1-arm64", "", "c")
	arch.Platform = "linux/arm64"
	r := &Record{ID: "r", Moves: []Move{arch, move("1", "", "b"), move("latest", "a", "b")}}
	back := &Record{ID: "back", Kind: Rollback, Moves: []Move{move("latest", "b", "a"), move("1", "b", "")}}
	again := &Record{ID: "again", Moves: []Move{move("0", "a", "a"), move("latest", "b", "a")}}
	tests := []struct {
		name    string
		records []*Record
		now     Tags
		want    string
	}{
		{"before", []*Record{r}, at("1-arm64", "", "1", "", "latest", "a"), ""},
		{"after", []*Record{r}, at("1-arm64", "c", "1", "b", "latest", "b"), ""},
		{"in between", []*Record{r}, at("1-arm64", "c", "1", "b", "latest", "a"), "r: 1-arm64 1, not latest\n"},
		{"no order a promotion has", []*Record{r}, at("1-arm64", "", "1", "b", "latest", "b"), ""},
		{"another's", []*Record{r}, at("1-arm64", "x", "1", "y", "latest", "z"), ""},
		{"a later one has what waits", []*Record{r, again}, at("0", "a", "1-arm64", "c", "1", "b", "latest", "a"), ""},
		{"a later one has only some of its own", []*Record{r, again}, at("0", "x", "1-arm64", "c", "1", "b", "latest", "a"), "r: 1-arm64 1, not latest\n"},
		{"a later one has taken other tags", []*Record{r, {Moves: []Move{move("0", "", "a")}}}, at("0", "a", "1-arm64", "c", "1", "b", "latest", "a"), "r: 1-arm64 1, not latest\n"},
		{"a rollback", []*Record{back}, at("1", "b", "latest", "a"), "back: latest, not 1\n"},
	}
	for _, tt := range tests {
		got := ""
		for _, h := range Halves(tt.records, tt.now) {
			got += h.Record.ID + ":"
			for _, m := range h.Moved {
				got += " " + strings.TrimPrefix(m.Tag, "r/app:")
			}
			got += ", not"
			for _, m := range h.Waiting {
				got += " " + strings.TrimPrefix(m.Tag, "r/app:")
			}
			got += "\n"
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
