package journal

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestUndo(t *testing.T) {
	t.Parallel()
	arch := move("1-arm64", "", "b")
	arch.Platform = "linux/arm64"
	got := Undo(&Record{Moves: []Move{arch, move("1", "a", "c"), move("same", "c", "c"), move("latest", "a", "c")}})
	back := arch
	back.Digest, back.Previous = "", "b"
	want := []Move{move("1", "c", "a"), move("latest", "c", "a"), back}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Histories, and what `rollback` undoes in each: never what was undone already.
func TestPublished(t *testing.T) {
	t.Parallel()
	release := func(id string, from, to digest.Digest) *Record {
		return &Record{ID: id, Kind: Release, Step: Verified, Moves: []Move{move("1", from, to)}}
	}
	back := func(id string, undoes ...string) *Record {
		return &Record{ID: id, Kind: Rollback, Step: Verified, Undoes: undoes, Moves: []Move{move("1", "x", "y")}}
	}
	open := release("4", "c", "d")
	open.Step = Promoting
	tests := []struct {
		name    string
		records []*Record
		want    []string
	}{
		{"nothing", nil, nil},
		{"releases", []*Record{release("1", "", "a"), release("2", "a", "b")}, []string{"2", "1"}},
		{"one that moved nothing", []*Record{release("1", "", "a"), release("2", "a", "a")}, []string{"1"}},
		{"one that is open", []*Record{release("1", "", "a"), open}, []string{"1"}},
		{"one undone", []*Record{release("1", "", "a"), release("2", "a", "b"), back("3", "2")}, []string{"1"}},
		{"both undone", []*Record{release("1", "", "a"), release("2", "a", "b"), back("3", "2"), back("4", "1")}, nil},
		{"undone and released again", []*Record{release("1", "", "a"), back("2", "1"), release("3", "", "a")}, []string{"3"}},
		{"to one that was undone", []*Record{release("1", "", "a"), back("2", "1"), {ID: "3", Kind: Rollback, Step: Verified, Restores: "1", Moves: []Move{move("1", "", "a")}}}, []string{"3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, r := range Published(tt.records) {
				got = append(got, r.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Going back step by step passes each release once and ends.
func TestRollbackSteps(t *testing.T) {
	t.Parallel()
	tag := "r/app:1"
	now := Tags{tag: ""}
	var records []*Record
	for i, d := range []digest.Digest{"a", "b", "a", "c"} { // a is released twice
		records = append(records, &Record{ID: fmt.Sprint(i), Kind: Release, Step: Verified, Moves: []Move{{Tag: tag, Previous: now[tag], Digest: d}}})
		now[tag] = d
	}
	var seen []digest.Digest
	for {
		published := Published(records)
		top, err := Current(published, func(tag string) (digest.Digest, error) { return now[tag], nil })
		if err != nil {
			t.Fatal(err)
		}
		if top == nil {
			break
		}
		moves := Undo(top)
		records = append(records, &Record{ID: fmt.Sprint(len(records)), Kind: Rollback, Step: Verified, Undoes: IDs{top.ID}, Moves: moves})
		now[tag] = moves[0].Digest
		seen = append(seen, now[tag])
	}
	if !slices.Equal(seen, []digest.Digest{"a", "b", "a", ""}) {
		t.Errorf("it went over %q", seen)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	records := []*Record{
		{ID: "1", Kind: Release, Step: Verified, Moves: []Move{move("latest", "", "a")}},
		{ID: "2", Kind: Release, Step: Verified, Moves: []Move{move("latest", "a", "b")}},
		{ID: "3", Kind: Release, Step: Verified, Moves: []Move{move("latest", "b", "c")}},
	}
	r := &Record{ID: "4", Kind: Rollback}
	r.Restore(records[0], records)
	if diff := cmp.Diff(IDs{"3", "2"}, r.Undoes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Move{move("latest", "c", "a")}, r.Moves); diff != "" {
		t.Error(diff)
	}
	// And forth again: the release counts as published anew.
	r.Step = Verified
	forth := &Record{ID: "5", Kind: Rollback}
	forth.Restore(records[2], append(records, r))
	if len(forth.Undoes) != 0 || forth.Moves[0] != move("latest", "a", "c") {
		t.Errorf("%+v", forth)
	}
}

// TestUndoRemovesIndexesLast keeps a tag that leads to the record while any
// other is there.
func TestUndoRemovesIndexesLast(t *testing.T) {
	t.Parallel()
	arch := move("latest-arm64", "", "c")
	arch.Platform = "linux/arm64"
	moves := Undo(&Record{Moves: []Move{move("1", "", "b"), arch, move("0", "a", "b"), move("latest", "", "b")}})
	var got []string
	for i, m := range moves {
		got = append(got, m.Tag)
		if i > 0 && m.Digest == "" && m.Platform == "" && moves[i-1].Rank() == m.Rank() && moves[i-1].Platform != "" {
			t.Errorf("%s goes away together with %s", m.Tag, moves[i-1].Tag)
		}
	}
	if want := []string{"r/app:0", "r/app:latest-arm64", "r/app:1", "r/app:latest"}; !cmp.Equal(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
}
