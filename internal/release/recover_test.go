package release

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
)

// TestKilledThenChanged kills a release at each of its events, before and after
// it has its effect, exhaustively; then the source changes. The next release
// ends; what was recorded is still there, and a rollback gives the set that was
// there before the killed one, whole.
func TestKilledThenChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	points := 0
	for _, after := range []bool{false, true} {
		for at := 1; ; at += *killStep {
			w.reset(at%2 == 0, false)
			c := w.clone()
			must(t, c.release("1", "old", false, 0, false, nil))
			old := w.tags()
			kept := c.records()
			killed := c.release("1", "first", false, at, after, nil)
			if !killed.killed {
				break
			}
			points++
			if step := c.newest().Step; step == journal.Verified {
				old = w.tags() // it died after the last event that matters
			}
			next := c.release("1", "second", false, 0, false, nil)
			if next.err != nil {
				t.Fatalf("killed at event %d (after: %t), the next release: %s", at, after, next.said)
			}
			whole := w.tags()
			for id, r := range c.records() {
				if was := kept[id]; was != nil && (r.Step != was.Step || len(r.Moves) != len(was.Moves)) {
					t.Errorf("event %d: the record of the first release is now %q with %d moves", at, r.Step, len(r.Moves))
				}
			}
			back := c.rollback("1", "", false, 0, false)
			if back.err != nil {
				t.Fatalf("event %d (after: %t), rolling back: %s", at, after, back.said)
			}
			got := w.tags()
			// Killed with all its tags moved, the first one was released whole.
			if !maps.Equal(got, old) && !strings.Contains(next.said, "after its last tag had moved") {
				t.Fatalf("event %d (after: %t): rolled back to %v, want %v\n%s", at, after, got, old, next.said+back.said)
			}
			if again := c.release("1", "second", false, 0, false, nil); again.err != nil || !maps.Equal(w.tags(), whole) {
				t.Fatalf("event %d: forward again: %s", at, again.said)
			}
		}
	}
	t.Logf("killed at %d points", points)
	if points < 60 / *killStep {
		t.Errorf("a release has %d points only", points/2)
	}
}

// TestKilledRollback kills a rollback at each of its events. The next command
// finishes it or finds it undone, whole in any case.
func TestKilledRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, after := range []bool{false, true} {
		for at := 1; ; at += *killStep {
			w.reset(true, false)
			c := w.clone()
			must(t, c.release("1", "old", false, 0, false, nil))
			old := w.tags()
			must(t, c.release("1", "new", false, 0, false, nil))
			fresh := w.tags()
			if !c.rollback("1", "", false, at, after).killed {
				break
			}
			if again := c.rollback("1", "", false, 0, false); again.err != nil {
				t.Fatalf("event %d (after: %t): %s\nnewest: %+v", at, after, again.said, c.newest())
			}
			// Whether the first one had its effect or not, this one rolled back
			// once or twice: never half, never forward.
			got := w.tags()
			none := journal.Tags{}
			for tag := range got {
				none[tag] = ""
			}
			if !maps.Equal(got, old) && !maps.Equal(got, none) {
				t.Fatalf("event %d (after: %t): %v\nold %v\nnew %v", at, after, got, old, fresh)
			}
		}
	}
}

func must(t *testing.T, e ended) {
	t.Helper()
	if e.err != nil {
		t.Fatal(e.said)
	}
}

// killedBetweenTags kills a release when all its tags but latest are written.
func (c *clone) killedBetweenTags(t *testing.T, content string) journal.Tags {
	t.Helper()
	before := c.tags()
	for move := 1; ; move++ {
		probe := c.release("1", content, false, -move, true, nil)
		if !probe.killed {
			break
		}
		now := c.tags()
		moved := 0
		for tag, d := range now {
			if d != before[tag] {
				moved++
			}
		}
		if moved == 5 { // all but latest
			return now
		}
	}
	t.Fatal("the release was not killed between two tags")
	return nil
}

// TestKilledThenForeign has another release move a tag after a kill: ours goes
// back, theirs stays, both are named, and it does not go on for ever.
func TestKilledThenForeign(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	c.killedBetweenTags(t, "first")
	theirs := w.foreign("latest", 1)
	next := c.release("1", "second", false, 0, false, nil)
	if strings.Contains(next.said, "moved none of its tags") {
		t.Errorf("it says what is not so: %s", next.said)
	}
	for _, want := range []string{"app:latest since: it points to " + theirs.String() + " and is left there", "app:1 points to "} {
		if !strings.Contains(next.said, want) {
			t.Errorf("it does not say %q:\n%s", want, next.said)
		}
	}
	if next.err != nil {
		must(t, c.release("1", "second", false, 0, false, nil))
	}
}

// TestPushOfClosed has a record that is verified followed by another: it stays
// as it is, also if somebody has moved its tags since, which is a conflict.
func TestPushOfClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	must(t, c.release("1", "new", false, 0, false, nil))
	kept := c.newest()
	w.foreign("1", 1)
	w.foreign("latest", 1)
	foreign := w.tags()
	again := func(force bool) ended {
		p := w.plans["1"]
		return c.do(0, false, nil, func(ctx context.Context, ws *Workspace, client *registry.Client) error {
			r, err := ws.journal.New(journal.Release)
			if err != nil {
				return err
			}
			r.Follow(kept)
			if err := ws.checked(p, r); err != nil {
				return err
			}
			return ws.publish(ctx, p, client, r, PushOptions{Force: force}, !force)
		})
	}
	e := again(false)
	var conflict *index.ConflictError
	if !errors.As(e.err, &conflict) || len(conflict.Tags) != 2 || !maps.Equal(foreign, w.tags()) {
		t.Errorf("pushed once more: %s", e.said)
	}
	if is := c.records()[kept.ID]; is.Step != kept.Step || !slices.Equal(is.Moves, kept.Moves) {
		t.Errorf("the record that was closed is %q with %d moves", is.Step, len(is.Moves))
	}
	must(t, again(true))
	must(t, c.rollback("1", "", false, 0, false))
	if got := w.tags(); !maps.Equal(got, foreign) {
		t.Errorf("rolled back to %v, want what was overwritten, %v", got, foreign)
	}
}

// TestUnchecked refuses drafts that were not inspected, or failed; as they are
// now, not as they were.
func TestUnchecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ws := &Workspace{journal: journal.Open(t.TempDir())}
	yes, no, old := &journal.Check{Index: "sha256:i", Passed: true}, &journal.Check{Index: "sha256:i"}, &journal.Check{Index: "sha256:old", Passed: true}
	tests := []struct {
		name              string
		inspected, proven *journal.Check
		want              *UncheckedError
	}{
		{"inspected", yes, nil, nil},
		{"inspected and proven", yes, yes, nil},
		{"not inspected", nil, nil, &UncheckedError{Target: "app"}},
		{"another index was inspected", old, nil, &UncheckedError{Target: "app"}},
		{"failed", no, nil, &UncheckedError{Target: "app", Failed: true}},
		{"failed on a device", yes, no, &UncheckedError{Target: "app", Failed: true, Proof: true}},
	}
	for _, tt := range tests {
		r := &journal.Record{Targets: []*journal.Target{{Name: "app", Index: "sha256:i", Inspected: tt.inspected, Proven: tt.proven}}}
		err := ws.checked(w.plans["1"], r)
		var got *UncheckedError
		if tt.want == nil && err != nil || tt.want != nil && (!errors.As(err, &got) || *got != *tt.want || got.Remedy() == "") {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

// TestForceRemembers has a release overwrite another one's tag: a rollback
// gives back what was overwritten.
func TestForceRemembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	events := func() int { return c.release("1", "old", false, 0, false, nil).events }()
	for _, force := range []bool{false, true} {
		before := w.tags()
		moved := false
		var foreign journal.Tags
		// In the middle of the release, after it has read its tags.
		e := c.release("1", "new", force, events/2, false, func() {
			moved = true
			w.foreign("latest", 7)
			foreign = w.tags()
		})
		if !moved {
			t.Fatal("nothing happened in the middle")
		}
		var conflict *index.ConflictError
		if !force {
			if !errors.As(e.err, &conflict) || len(unnamed(before, w.tags(), e.said)) > 0 {
				t.Fatalf("no conflict, or tags not named: %s", e.said)
			}
			continue
		}
		must(t, e)
		must(t, c.rollback("1", "", false, 0, false))
		if got := w.tags(); !maps.Equal(got, foreign) {
			t.Errorf("rolled back to %v, want %v", got, foreign)
		}
	}
}

// TestRollbackTwice goes one release further back each time.
func TestRollbackTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	var sets []journal.Tags
	for _, content := range []string{"a", "b", "c"} {
		sets = append(sets, w.tags())
		must(t, c.release("1", content, false, 0, false, nil))
	}
	for i := 2; i >= 0; i-- {
		e := c.rollback("1", "", false, 0, false)
		must(t, e)
		if got := w.tags(); !maps.Equal(got, sets[i]) {
			t.Errorf("rollback %d: %v, want %v", 3-i, got, sets[i])
		}
		if !strings.Contains(e.said, "rolled back 6 tags to ") || !strings.Contains(e.said, "every one read back") {
			t.Errorf("it says %s", e.said)
		}
	}
	var none *journal.NoRecordError
	if e := c.rollback("1", "", false, 0, false); !errors.As(e.err, &none) {
		t.Errorf("with nothing left: %s", e.said)
	}
}

// TestLostWorkstation has the registry alone: another machine lists what was
// released, goes back by name and step by step, and releases on.
func TestLostWorkstation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, api := range []bool{true, false} {
		w.reset(api, false)
		c := w.clone()
		must(t, c.release("1", "a", false, 0, false, nil))
		a := w.tags()
		must(t, c.release("1", "b", false, 0, false, nil))
		b := w.tags()
		must(t, c.release("1", "c", false, 0, false, nil))
		must(t, c.rollback("1", "", false, 0, false))
		ids := map[string]bool{}
		for id := range c.records() {
			ids[id] = true
		}
		c.forget()
		second := w.clone()
		must(t, second.rollback("1", "", false, 0, false)) // the release before b
		if got := w.tags(); !maps.Equal(got, a) {
			t.Errorf("referrers API %t: rolled back to %v, want %v", api, got, a)
		}
		var of string
		for id := range ids {
			if of == "" || id > of {
				of = id
			}
		}
		must(t, second.release("1", "b", false, 0, false, nil))
		if got := w.tags(); !maps.Equal(got, b) {
			t.Errorf("released %v, want %v", got, b)
		}
		for id := range second.records() {
			if id <= of {
				t.Errorf("the record %s of the second machine sorts before %s of the first", id, of)
			}
		}
	}
}

// TestKilledElsewhere has a machine die between two tags; another one names the
// tags, releases, and goes back to the set that was there before, whole.
func TestKilledElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	old := w.tags()
	mixed := c.killedBetweenTags(t, "first")
	second := w.clone()
	e := second.release("1", "second", false, 0, false, nil)
	must(t, e)
	if !strings.Contains(e.said, "of another workspace is under way, or was killed") || len(unnamed(old, mixed, e.said)) > 0 {
		t.Errorf("it does not name the mixture: %s", e.said)
	}
	must(t, second.rollback("1", "", false, 0, false))
	if got := w.tags(); !maps.Equal(got, old) {
		t.Errorf("rolled back to %v, want %v", got, old)
	}
}

// TestKilledElsewhereRolledBack has another machine take back what a dead one
// left half moved.
func TestKilledElsewhereRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	old := w.tags()
	c.killedBetweenTags(t, "first")
	second := w.clone()
	must(t, second.rollback("1", "", false, 0, false))
	if got := w.tags(); !maps.Equal(got, old) {
		t.Errorf("rolled back to %v, want %v", got, old)
	}
}

// TestNoRemoval has a registry that removes no tags: what a killed release left
// is named, and what comes after it is undone to what was there before it.
func TestNoRemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reset(true, true)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	// Version 2 has new tags, which cannot be removed.
	before := w.tags()
	for move := 1; ; move++ {
		e := c.release("2", "first", false, -move, true, nil)
		if !e.killed {
			t.Fatal("not killed between two tags")
		}
		if now := w.tags(); now[w.host+"/app:2"] != "" && now[w.host+"/app:latest"] == before[w.host+"/app:latest"] {
			break
		}
	}
	e := c.release("2", "second", false, 0, false, nil)
	must(t, e)
	if !strings.Contains(e.said, "app:2 could not be moved") {
		t.Errorf("it does not name the tag: %s", e.said)
	}
	for _, r := range c.records() {
		for _, m := range r.Moves {
			if strings.HasSuffix(m.Tag, ":2") && m.Previous != "" {
				t.Errorf("release %s remembers %s for %s, which did not exist", r.ID, m.Previous, m.Tag)
			}
		}
	}
	back := c.rollback("2", "", false, 0, false)
	must(t, back)
	if left := unnamed(before, w.tags(), back.said); len(left) > 0 {
		t.Errorf("not named: %v\n%s", left, back.said)
	}
}

// TestUnreadableNewest stops whatever would come after it.
func TestUnreadableNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone()
	must(t, c.release("1", "old", false, 0, false, nil))
	before := w.tags()
	c.damageNewest(t)
	var bad *journal.RecordError
	for name, e := range map[string]ended{
		"release":  c.release("1", "new", false, 0, false, nil),
		"rollback": c.rollback("1", "", false, 0, false),
	} {
		if !errors.As(e.err, &bad) || bad.Remedy() == "" {
			t.Errorf("%s: %s", name, e.said)
		}
	}
	if !maps.Equal(before, w.tags()) {
		t.Error("tags have moved")
	}
}

// TestRollbackKilledElsewhere has a machine die in a rollback, at each tag that
// it moves: a rollback elsewhere, and a release, name each tag that is not of one
// set.
func TestRollbackKilledElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mixtures := 0
	for move := 1; ; move++ {
		w.reset(true, false)
		c, second := w.clone(), w.clone()
		must(t, second.release("1", "a", false, 0, false, nil))
		must(t, second.release("2", "b", false, 0, false, nil))
		old := w.tags()
		must(t, c.release("1", "c", false, 0, false, nil))
		fresh := w.tags()
		if !c.rollback("1", "", false, -move, false).killed {
			break
		}
		mixed := w.tags()
		half := !maps.Equal(mixed, old) && !maps.Equal(mixed, fresh)
		e := second.rollback("1", "", false, 0, false)
		if half && len(unnamed(old, mixed, e.said)) > 0 && len(unnamed(fresh, mixed, e.said)) > 0 {
			t.Errorf("move %d: a rollback does not name\n%v\nof\n%v\n%s", move, unnamed(old, mixed, e.said), mixed, e.said)
		}
		if half {
			mixtures++
			next := second.release("1", "d", false, 0, false, nil)
			if maps.Equal(mixed, w.tags()) && len(unnamed(old, mixed, next.said)) > 0 && len(unnamed(fresh, mixed, next.said)) > 0 {
				t.Errorf("move %d: a release does not name them: %s", move, next.said)
			}
		}
	}
	if mixtures < 3 {
		t.Errorf("the rollback was killed between two tags %d times", mixtures)
	}
}

// TestKilledElsewhereEarly has a machine die when only tags of single platforms
// have moved: the others still point to what the second machine put there, which
// looks at them all the same, and what it releases is undone to a whole set.
func TestKilledElsewhereEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	early := 0
	for move := 1; ; move++ {
		w.reset(true, false)
		c, second := w.clone(), w.clone()
		must(t, second.release("1", "old", false, 0, false, nil))
		old := w.tags()
		if !c.release("1", "first", false, -move, false, nil).killed {
			break
		}
		mixed := w.tags()
		if maps.Equal(mixed, old) || mixed[w.host+"/app:1"] != old[w.host+"/app:1"] {
			continue
		}
		early++
		e := second.release("1", "second", false, 0, false, nil)
		must(t, e)
		if left := unnamed(old, mixed, e.said); len(left) > 0 {
			t.Errorf("move %d: it does not name %v\n%s", move, left, e.said)
		}
		must(t, second.rollback("1", "", false, 0, false))
		if got := w.tags(); !maps.Equal(got, old) {
			t.Errorf("move %d: rolled back to %v, want %v", move, got, old)
		}
	}
	if early == 0 {
		t.Error("the release was never killed between two tags of platforms")
	}
}
