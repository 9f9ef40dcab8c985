package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/ui"
)

// RollbackOptions say how far to go back.
type RollbackOptions struct {
	// To is the release whose tags are wanted again; empty means as they were
	// before the newest release that moved any.
	To string
	// Force moves tags that somebody else has moved since.
	Force bool
	// DryRun only says what would move.
	DryRun bool
}

// Rollback puts all tags back, and records that too.
func (w *Workspace) Rollback(ctx context.Context, o RollbackOptions) error {
	_, p, err := w.Load(Selection{})
	if err != nil {
		return err
	}
	return w.locked(p, func(client *registry.Client) error { return w.rollback(ctx, p, client, o) })
}

func (w *Workspace) rollback(ctx context.Context, p *plan.Plan, client *registry.Client, o RollbackOptions) error {
	r, err := w.journal.New(journal.Rollback)
	if err != nil {
		return err
	}
	if o.To == "" {
		err = w.undo(r)
	} else {
		err = w.restore(r, o.To)
	}
	if err != nil {
		return err
	}
	if o.DryRun {
		return w.showMoves(r.Moves)
	}
	if err := w.registries(ctx, onlyRegistries(p), client); err != nil {
		return err
	}
	w.status.Close()
	if err := r.Advance(journal.Promoting); err != nil {
		return err
	}
	err = index.Promote(ctx, client, r.Moves, index.Promotion{Force: o.Force})
	var stuck *index.UntagError
	if errors.As(err, &stuck) { // all else was done; the registry does not remove tags
		w.status.Warn(stuck.Error() + "; " + stuck.Remedy())
		r.Moves = slices.DeleteFunc(r.Moves, func(m journal.Move) bool { return m.Digest == "" && slices.Contains(stuck.Tags, m.Tag) })
	} else if err != nil {
		var half *index.HalfMovedError
		if !errors.As(err, &half) { // all tags are as they were: nothing to remember
			err = errors.Join(err, w.journal.Remove(r))
		}
		return interrupted(ctx, err)
	}
	if err := r.Advance(journal.Promoted); err != nil {
		return err
	}
	if err := index.Verify(ctx, client, r.Moves); err != nil {
		return interrupted(ctx, err)
	}
	if err := r.Advance(journal.Verified); err != nil {
		return err
	}
	return w.showMoves(r.Moves)
}

// onlyRegistries is the plan without builds: a rollback pushes nothing.
func onlyRegistries(p *plan.Plan) *plan.Plan { c := *p; c.Targets = nil; return &c }

// undo takes back the newest release that moved tags.
func (w *Workspace) undo(r *journal.Record) error {
	ids, err := w.journal.IDs()
	if err != nil {
		return err
	}
	for _, id := range slices.Backward(ids) {
		old, err := w.journal.Read(id)
		if err != nil {
			return err
		}
		if !old.Reached(journal.Promoting) || len(old.Moves) == 0 {
			continue
		}
		r.Undoes = old.ID
		r.Moves = slices.DeleteFunc(index.Rollback(old.Moves), func(m journal.Move) bool { return m.Digest == m.Previous })
		if len(r.Moves) == 0 {
			return usage("Nothing to roll back", fmt.Errorf("release %s moved no tag: they were all there already; name an older state with -to=ID (`mage releases` lists them)", old.ID))
		}
		return nil
	}
	return &journal.NoRecordError{Dir: w.path(), Want: "no release has moved a tag"}
}

// restore makes the tags what they were when release id had ended.
func (w *Workspace) restore(r *journal.Record, id string) error {
	old, err := w.record(id)
	if err != nil {
		return err
	}
	if !old.Reached(journal.Promoted) {
		return usage("Release without tags", fmt.Errorf("release %s did not come as far as its tags (%s)", old.ID, old.Step))
	}
	r.Restores = old.ID
	for _, m := range old.Moves {
		r.Moves = append(r.Moves, journal.Move{Target: m.Target, Tag: m.Tag, Platform: m.Platform, Digest: m.Digest, Previous: w.lastMove(m.Tag)})
	}
	return nil
}

// lastMove is what the newest record that moved a tag made of it: if it names
// anything else, somebody else has moved it.
func (w *Workspace) lastMove(tag string) digest.Digest {
	ids, err := w.journal.IDs()
	if err != nil {
		return ""
	}
	for _, id := range slices.Backward(ids) {
		r, err := w.journal.Read(id)
		if err != nil || !r.Reached(journal.Promoting) {
			continue
		}
		for _, m := range r.Moves {
			if m.Tag == tag {
				return m.Digest
			}
		}
	}
	return ""
}

func (w *Workspace) showMoves(moves []journal.Move) error {
	t := ui.NewTable(ui.Column{Title: "TAG"}, ui.Column{Title: "FROM"}, ui.Column{Title: "TO"})
	t.Empty = "no tag moves\n"
	name := func(d digest.Digest) string {
		if d == "" {
			return "(none)"
		}
		return d.String()
	}
	for _, m := range moves {
		t.Row(m.Tag, name(m.Previous), name(m.Digest))
	}
	return t.Write(w.Streams.Out)
}

// releaseView is one release as `mage releases -json` prints it.
type releaseView struct {
	*journal.Record
	// Problem says why the record cannot be read.
	Problem string `json:"problem,omitempty"`
}

// Releases lists the records, the newest first.
func (w *Workspace) Releases(asJSON bool) error {
	ids, err := w.journal.IDs()
	if err != nil {
		return err
	}
	views := []releaseView{}
	for _, id := range slices.Backward(ids) {
		r, err := w.journal.Read(id)
		if err != nil {
			views = append(views, releaseView{Record: &journal.Record{ID: id}, Problem: err.Error()})
			continue
		}
		views = append(views, releaseView{Record: r})
	}
	if asJSON {
		return w.writeJSON(views)
	}
	out := w.Streams.Out
	t := ui.NewTable(ui.Column{Title: "RELEASE", Keep: true}, ui.Column{Title: "STATE"}, ui.Column{Title: "TARGETS"}, ui.Column{Title: "TAGS", Right: true}, ui.Column{Title: "INDEX"})
	t.Empty = "no release was made here yet; `mage release` makes one\n"
	for _, v := range views {
		if v.Problem != "" {
			t.Row(v.ID, out.Bad("unreadable"), v.Problem, "", "")
			continue
		}
		var state any
		switch {
		case v.Kind == journal.Rollback && v.Undoes != "":
			state = "took back " + v.Undoes
		case v.Kind == journal.Rollback:
			state = "restored " + v.Restores
		case v.Step == journal.Verified:
			state = out.Good("released")
		default:
			state = out.Warn("stopped while " + string(v.Step))
		}
		var targets, indexes []string
		for _, tr := range v.Targets {
			if !tr.Linked {
				targets = append(targets, tr.Name)
				indexes = append(indexes, tr.Index.String())
			}
		}
		first := ""
		if len(indexes) == 1 {
			first = indexes[0]
		}
		t.Row(v.ID, state, strings.Join(targets, ", "), fmt.Sprint(len(v.Moves)), first)
	}
	return t.Write(out)
}
