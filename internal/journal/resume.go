package journal

import "slices"

// Closed reports whether nothing may be added to a record: its release is
// published.
func (r *Record) Closed() bool { return r.Reached(Verified) }

// Open reports whether tags may point to something that no release published
// whole: a promotion was begun and did not end, or could not be put back. It is
// closed before anything else happens (Close).
func (r *Record) Open() bool {
	return r.Reached(Promoting) && !r.Closed() && len(r.Moves) > 0 || len(r.Stuck) > 0
}

// Continues reports whether a run of a plan goes on with the newest record: it
// is of a release that did not end, of the same plan. The record keeps its
// name and what the tags pointed to when the release first began.
func (r *Record) Continues(plan string) bool {
	return r.Kind == Release && !r.Closed() && r.Plan == plan
}

// Restart begins another attempt: what earlier ones built, assembled and
// checked is history.
func (r *Record) Restart() {
	r.Step, r.Smoke, r.Proofs = Building, nil, nil
	for _, t := range r.Targets {
		earlier := t.Children
		for _, c := range t.Earlier {
			if t.Child(c.Platform) == nil {
				earlier = append(earlier, c)
			}
		}
		t.Earlier, t.Children = earlier, nil
		t.Index, t.Inspected, t.Proven = "", nil, nil
	}
}

// Follow fills a new record with what a closed one built and assembled, so that
// single steps can go on from there. Where the closed one left the tags is where
// they should be still.
func (r *Record) Follow(old *Record) {
	r.Step, r.Plan, r.Epoch, r.Commit, r.Dirty = Assembled, old.Plan, old.Epoch, old.Commit, old.Dirty
	r.Stuck, r.Proofs, r.Smoke = slices.Clone(old.Stuck), old.Proofs, old.Smoke
	if len(old.Moves) > 0 {
		r.Before = Tags{}
	}
	for _, m := range old.Moves {
		r.Before[m.Tag] = m.Digest
	}
	for _, t := range old.Targets {
		next := *t
		next.Children, next.Earlier = nil, nil
		for _, c := range t.Children {
			child := *c
			child.Reused = true
			next.Children = append(next.Children, &child)
		}
		r.Targets = append(r.Targets, &next)
	}
}

// Past is, for each target and platform, what this release knows of its build,
// from whichever attempt.
func (r *Record) Past(visit func(target string, c *Child)) {
	for _, t := range r.Targets {
		for _, c := range t.Earlier {
			visit(t.Name, c)
		}
		for _, c := range t.Children {
			visit(t.Name, c)
		}
	}
}
