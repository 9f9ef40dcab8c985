package journal

import "slices"

// Halfway is a promotion that stands, or stopped, between two of its tags.
type Halfway struct {
	Record *Record
	// Moved tags are where it put them, Waiting ones where they were before.
	Moved, Waiting []Move
}

// Halves lists the promotions of which some tags have moved and others have not:
// from what the tags point to, without their journals. Records are in the order
// of their time. A tag that a later record put where it is, with all its others,
// is that one's.
func Halves(records []*Record, now Tags) []Halfway {
	var out []Halfway
	for i, r := range records {
		moves := r.Changed()
		for _, later := range records[i+1:] {
			if len(Due(later.Moves, now)) > 0 {
				continue
			}
			moves = slices.DeleteFunc(moves, func(m Move) bool {
				return slices.ContainsFunc(later.Moves, func(l Move) bool { return l.Tag == m.Tag })
			})
		}
		if moved, waiting := half(moves, now); len(moved) > 0 {
			out = append(out, Halfway{r, moved, waiting})
		}
	}
	return out
}

// half gives nothing where all moves are at one place, or elsewhere, or where no
// promotion stops: those of a higher rank move later.
func half(moves []Move, now Tags) (moved, waiting []Move) {
	last, first := 0, LastRank
	for _, m := range moves {
		switch now[m.Tag] {
		case m.Digest:
			moved, last = append(moved, m), max(last, m.Rank())
		case m.Previous:
			waiting, first = append(waiting, m), min(first, m.Rank())
		}
	}
	if len(moved) == 0 || len(waiting) == 0 || last > first {
		return nil, nil
	}
	return moved, waiting
}
