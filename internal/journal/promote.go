package journal

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Tags are what tags point to, by their full reference; "" for one that does
// not exist.
type Tags map[string]digest.Digest

// Found is a tag that does not point to what was expected.
type Found struct {
	// Tag is the full reference.
	Tag string
	// Want is what was expected, Now what it points to; "" for nothing.
	Want, Now digest.Digest
}

// Conflicts lists the tags that point neither to what they did when the release
// began nor to what they shall. A tag that before does not know is not in
// conflict.
func Conflicts(moves []Move, before, now Tags) []Found {
	var out []Found
	for _, m := range moves {
		want, known := before[m.Tag]
		if got := now[m.Tag]; known && got != want && got != m.Digest {
			out = append(out, Found{Tag: m.Tag, Want: want, Now: got})
		}
	}
	return out
}

// Due lists the moves that have to be made, or made again, in the given order.
func Due(moves []Move, now Tags) []Move {
	var out []Move
	for _, m := range moves {
		if now[m.Tag] != m.Digest {
			out = append(out, m)
		}
	}
	return out
}

// Misplaced lists the tags that do not point to what they shall.
func Misplaced(moves []Move, now Tags) []Found {
	var out []Found
	for _, m := range Due(moves, now) {
		out = append(out, Found{Tag: m.Tag, Want: m.Digest, Now: now[m.Tag]})
	}
	return out
}

// Promote notes the moves of a promotion before the first of them is made.
// Their Previous is what the tags point to now; where a promotion that did not
// end (open) has put that there, Previous becomes what it was before, so that a
// rollback restores what some release published whole.
func (r *Record) Promote(moves, open []Move) {
	if r.Before == nil {
		r.Before = Tags{}
	}
	r.Moves = nil
	for _, m := range moves {
		r.Before[m.Tag] = m.Previous
		m.Previous = origin(m.Tag, m.Previous, slices.Concat(r.Stuck, open))
		r.Moves = append(r.Moves, m)
	}
	r.Step = Promoting
	r.Attempt++
}

// origin is what a tag pointed to before open moves put it where it is now.
func origin(tag string, now digest.Digest, open []Move) digest.Digest {
	for range open { // each may be undone once
		i := slices.IndexFunc(open, func(m Move) bool { return m.Tag == tag && m.Digest == now && m.Previous != now })
		if i < 0 {
			break
		}
		now = open[i].Previous
	}
	return now
}

// Withdraw notes that a promotion moved no tag, or that all were put back. Step
// is the one before it; after a conflict the next attempt begins with what the
// tags point to then.
func (r *Record) Withdraw(step Step, conflict bool) {
	r.Step, r.Moves = step, nil
	if conflict {
		r.Before = nil
	}
}

// Finish notes that every tag was read back: the record is closed. Moves that
// were stuck are made good where their tag has moved.
func (r *Record) Finish() {
	r.Step = Verified
	r.Stuck = slices.DeleteFunc(r.Stuck, func(s Move) bool {
		return slices.ContainsFunc(r.Moves, func(m Move) bool { return m.Tag == s.Tag })
	})
}

// Closing is how a promotion ends that was interrupted.
type Closing struct {
	// Complete reports that every tag is where the promotion wanted it.
	Complete bool
	// Untouched reports that no tag had moved yet.
	Untouched bool
	// Moves bring the tags back (those of a release), or on (those of a
	// rollback): both end in a set that was published whole before. Previous is
	// what the tag points to now.
	Moves []Move
	// Taken are tags that another release has moved since. They are left alone.
	Taken []Found
}

// Close decides how an open record is closed, from what its tags point to now.
func Close(r *Record, now Tags) Closing {
	var c Closing
	moved, waiting := 0, []Move(nil)
	if r.Reached(Promoting) && !r.Closed() {
		for _, m := range r.Moves {
			switch got := now[m.Tag]; {
			case got == m.Digest && m.Digest == m.Previous:
			case got == m.Digest:
				moved++
				if r.Kind == Release {
					c.Moves = append(c.Moves, Move{Target: m.Target, Tag: m.Tag, Platform: m.Platform, Digest: m.Previous, Previous: got})
				}
			case got == m.Previous || got == r.Before[m.Tag] && r.knows(m.Tag) || isStuck(r, m.Tag, got):
				waiting = append(waiting, Move{Target: m.Target, Tag: m.Tag, Platform: m.Platform, Digest: m.Digest, Previous: got})
			default:
				c.Taken = append(c.Taken, Found{Tag: m.Tag, Want: m.Digest, Now: got})
			}
		}
		c.Complete = len(waiting) == 0 && len(c.Taken) == 0
		c.Untouched = moved == 0 && !c.Complete
		switch {
		case c.Complete:
			c.Moves = nil
		case r.Kind == Rollback && moved > 0:
			c.Moves = waiting
		}
	}
	// What could not be put back once is tried again.
	for _, s := range r.Stuck {
		again := slices.ContainsFunc(c.Moves, func(m Move) bool { return m.Tag == s.Tag })
		if !again && now[s.Tag] == s.Digest && s.Digest != s.Previous {
			c.Moves = append(c.Moves, Move{Target: s.Target, Tag: s.Tag, Platform: s.Platform, Digest: s.Previous, Previous: s.Digest})
		}
	}
	slices.SortStableFunc(c.Moves, func(a, b Move) int { return a.Rank() - b.Rank() })
	return c
}

func (r *Record) knows(tag string) bool { _, ok := r.Before[tag]; return ok }

func isStuck(r *Record, tag string, d digest.Digest) bool {
	return slices.ContainsFunc(r.Stuck, func(s Move) bool { return s.Tag == tag && s.Digest == d })
}

// Settle notes how an interrupted promotion was closed. Failed are the moves of
// the closing that could not be made: the tags stay where they are, and are
// remembered. A rollback that had moved nothing is no record of anything.
func (r *Record) Settle(c Closing, failed []Move) {
	open := r.Reached(Promoting) && !r.Closed()
	stuck := map[string]Move{}
	for _, m := range failed {
		stuck[m.Tag] = Move{Target: m.Target, Tag: m.Tag, Platform: m.Platform, Digest: m.Previous, Previous: m.Digest}
	}
	r.Stuck = nil
	for _, tag := range slices.Sorted(maps.Keys(stuck)) {
		r.Stuck = append(r.Stuck, stuck[tag])
	}
	switch {
	case !open, c.Untouched && r.Kind == Rollback:
	case c.Complete:
		r.Step = Verified
	case r.Kind == Rollback:
		r.Moves = slices.DeleteFunc(r.Moves, func(m Move) bool { _, ok := stuck[m.Tag]; return ok })
		r.Step = Verified
	default:
		// Where another release took a tag meanwhile, that is said now; what the
		// tags point to is read again.
		r.Withdraw(Uploaded, len(c.Taken) > 0)
		for _, s := range r.Stuck { // that it is there is no other release's doing
			if _, ok := r.Before[s.Tag]; ok {
				r.Before[s.Tag] = s.Digest
			}
		}
	}
}
