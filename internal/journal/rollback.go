package journal

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// Changed lists the moves that are not to where the tag was already.
func (r *Record) Changed() []Move {
	return slices.DeleteFunc(slices.Clone(r.Moves), func(m Move) bool { return m.Digest == m.Previous })
}

// Published lists what moved tags and was not undone, the newest first, from
// records in the order of their time. A rollback to a release that had been
// undone publishes it again, and counts as well.
func Published(records []*Record) []*Record {
	undone := map[string]bool{}
	for _, r := range records {
		if r.ended() && r.Kind == Rollback {
			for _, id := range r.Undoes {
				undone[id] = true
			}
		}
	}
	var out []*Record
	for _, r := range slices.Backward(records) {
		again := r.Kind == Rollback && len(r.Undoes) == 0
		if r.ended() && !undone[r.ID] && len(r.Changed()) > 0 && (r.Kind == Release || again) {
			out = append(out, r)
		}
	}
	return out
}

// ended reports whether the tags of a record were moved. Of what a registry has,
// only what the tags point to tells.
func (r *Record) ended() bool { return r.Reached(Promoted) || r.remote }

// Current returns the newest of published releases of which a tag that it moved
// is still where it put it, or nil: that is the one to undo, also if it was half
// moved, or somebody has put one of its tags back. Point reads a tag.
func Current(published []*Record, point func(tag string) (digest.Digest, error)) (*Record, error) {
	for _, r := range published {
		for _, m := range r.Changed() {
			now, err := point(m.Tag)
			if err != nil {
				return nil, err
			}
			if now == m.Digest {
				return r, nil
			}
		}
	}
	return nil, nil
}

// Carried leaves out the rollbacks of a registry of which nothing shows that
// they were carried out: none of their tags is where they put it, and none was
// when a later record began. Whoever attached them died before the first move.
func Carried(records []*Record, point func(tag string) (digest.Digest, error)) ([]*Record, error) {
	var out []*Record
	for i, r := range records {
		seen := !r.remote || r.Kind != Rollback
		for _, m := range r.Changed() {
			if seen {
				break
			}
			now, err := point(m.Tag)
			if err != nil {
				return nil, err
			}
			seen = now == m.Digest || slices.ContainsFunc(records[i+1:], func(later *Record) bool {
				return slices.ContainsFunc(later.Moves, func(l Move) bool { return l.Tag == m.Tag && l.Previous == m.Digest })
			})
		}
		if seen {
			out = append(out, r)
		}
	}
	return out, nil
}

// Undo returns the moves that undo a release: each tag goes back to what it
// pointed to before, and one that did not exist is removed (Digest ""). A tag
// that did not change is left out. Removals come last, so that no name is
// missing while others still move.
func Undo(r *Record) []Move {
	var out []Move
	for _, m := range r.Changed() {
		m.Digest, m.Previous = m.Previous, m.Digest
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b Move) int { return a.Rank() - b.Rank() })
	return out
}

// Restore fills a rollback that makes the tags what they were when a release
// had ended. It undoes all that was published after it; a release that had been
// undone itself is published again. Previous is what the newest of records made
// of each tag, which is what it should point to now.
func (r *Record) Restore(to *Record, records []*Record) {
	r.Restores = to.ID
	published := Published(records)
	if i := slices.IndexFunc(published, func(p *Record) bool { return p.ID == to.ID }); i > 0 {
		for _, p := range published[:i] {
			r.Undoes = append(r.Undoes, p.ID)
		}
	}
	for _, m := range to.Moves {
		last := digest.Digest("")
		for _, old := range slices.Backward(records) {
			if j := slices.IndexFunc(old.Moves, func(o Move) bool { return o.Tag == m.Tag }); j >= 0 && old.ended() {
				last = old.Moves[j].Digest
				break
			}
		}
		m.Previous = last
		r.Moves = append(r.Moves, m)
	}
}

// State names the release whose tags a set of moves brings back, "" if none is
// known: for people.
func State(published []*Record, undone *Record, moves []Move) string {
	to := Tags{}
	for _, m := range moves {
		to[m.Tag] = m.Digest
	}
	for _, p := range published {
		if p.ID == undone.ID {
			continue
		}
		fits, shared := true, false
		for _, m := range p.Moves {
			d, ok := to[m.Tag]
			shared = shared || ok
			fits = fits && (!ok || d == m.Digest)
		}
		if fits && shared {
			return p.ID
		}
	}
	return ""
}
