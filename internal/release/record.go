package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
)

// begin opens the record of a release: the newest one where that was
// interrupted and has the same plan, so that what its tags named before is not
// forgotten; else a new one. Fresh asks for a new one.
func (w *Workspace) begin(p *plan.Plan, epoch *time.Time, fresh bool) (*journal.Record, error) {
	if err := w.journal.Make(); err != nil {
		return nil, err
	}
	dgst := planDigest(p)
	if last, err := w.journal.Newest(); err == nil && !fresh && last.Kind == journal.Release && !last.Reached(journal.Verified) && last.Plan == dgst {
		w.say("going on with release %s, which was interrupted", last.ID)
		last.SetEpoch(epoch)
		return last, nil
	}
	r, err := w.journal.New(journal.Release)
	if err != nil {
		return nil, err
	}
	r.Plan = dgst
	r.SetEpoch(epoch)
	for _, t := range p.Targets {
		tr := &journal.Target{Name: t.Name, Linked: t.Linked}
		for _, tag := range t.Tags {
			tr.Tags = append(tr.Tags, tag.String())
		}
		r.Targets = append(r.Targets, tr)
	}
	return r, nil // saved when it is known what the tags name
}

// planDigest sums what decides a release besides the inputs of its builds.
func planDigest(p *plan.Plan) string {
	data, err := json.Marshal(struct {
		Plan    planJSON
		Release any
	}{planView(p), []any{p.Release.Attestations, p.Release.MediaTypes, p.Release.ArchTags}})
	if err != nil {
		return "" // plain strings always encode
	}
	return digest.FromBytes(data).String()
}

// public is the record as it is attached to an index: what is the same for
// every run that released the same, so that the same attachment is made once.
func public(r *journal.Record) ([]byte, error) {
	c := *r
	c.Started, c.Updated, c.ID, c.Before, c.Moves, c.Step = time.Time{}, time.Time{}, "", nil, nil, ""
	c.Targets = nil
	for _, t := range r.Targets {
		tc := *t
		tc.Children = nil
		for _, child := range t.Children {
			cc := *child
			cc.Seconds, cc.Reused, cc.Cached = 0, false, 0
			tc.Children = append(tc.Children, &cc)
		}
		c.Targets = append(c.Targets, &tc)
	}
	data, err := json.MarshalIndent(&c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the record: %w", err)
	}
	return data, nil
}

// takenBack notes that a promotion failed and left every tag as it was: there is
// nothing of it to roll back. After a conflict the next run begins with what the
// tags name then.
func takenBack(r *journal.Record, before journal.Step, failure error) error {
	var half *index.HalfMovedError
	if errors.As(failure, &half) {
		return nil
	}
	r.Step, r.Moves = before, nil
	var conflict *index.ConflictError
	if errors.As(failure, &conflict) {
		r.Before = nil
	}
	return r.Save()
}

// built says whether this run has built anything, which asked the registries
// whether they take a push.
func built(r *journal.Record) bool {
	return slices.ContainsFunc(r.Targets, func(t *journal.Target) bool {
		return slices.ContainsFunc(t.Children, func(c *journal.Child) bool { return !c.Reused })
	})
}

// moves says whether a tag named something else than it shall when the release
// began.
func moves(r *journal.Record) bool {
	return slices.ContainsFunc(r.Targets, func(t *journal.Target) bool {
		return slices.ContainsFunc(t.Tags, func(tag string) bool { return r.Before[tag] != t.Index })
	})
}

// record reads one by its name, or by the beginning of it.
func (w *Workspace) record(id string) (*journal.Record, error) {
	found, err := w.journal.Find(id)
	if err != nil {
		return nil, err
	}
	switch len(found) {
	case 0:
		return nil, usage("Unknown release", fmt.Errorf("there is no release %q; `mage releases` lists them", id))
	case 1:
		return w.journal.Read(found[0])
	}
	return nil, usage("Ambiguous release", fmt.Errorf("%q begins the names of %d releases: %s", id, len(found), strings.Join(found, ", ")))
}
