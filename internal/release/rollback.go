package release

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	// before the newest release that moved any and was not undone.
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
	last, err := w.newest()
	if err != nil {
		return err
	}
	if err := w.registries(ctx, p, client); err != nil {
		return err
	}
	w.status.Close()
	if last != nil && last.Open() {
		if done, err := w.rollbackOpen(ctx, p, client, last, o); done || err != nil {
			return interrupted(ctx, err)
		}
	}
	r, err := w.journal.New(journal.Rollback)
	if err != nil {
		return err
	}
	if last != nil {
		r.Stuck = slices.Clone(last.Stuck)
	}
	to, err := w.fillRollback(ctx, p, client, r, o.To)
	if err != nil {
		return interrupted(ctx, err)
	}
	if o.DryRun {
		w.say("would roll back %s to %s", count(len(r.Moves), "tag"), to)
		return w.showMoves(r.Moves)
	}
	// What the newest record made of a tag is what it must point to now.
	before := journal.Tags{}
	for _, m := range r.Moves {
		before[m.Tag] = m.Previous
	}
	began := false
	found, err := index.Promote(ctx, client, r.Moves, index.Promotion{Before: before, Force: o.Force, Begin: func(found []journal.Move) error {
		began = true
		r.Promote(found, nil)
		r.Unattached = true
		if err := r.Save(); err != nil {
			return err
		}
		return w.attach(ctx, client, r, nil)
	}})
	var stuck *index.UntagError
	if errors.As(err, &stuck) { // all else was done; the registry does not remove tags
		w.status.Warn(stuck.Error() + "; " + stuck.Remedy())
		r.Moves = slices.DeleteFunc(r.Moves, func(m journal.Move) bool { return m.Digest == "" && slices.Contains(stuck.Tags, m.Tag) })
	} else if err != nil {
		return interrupted(ctx, errors.Join(err, w.abandon(r, began, err)))
	}
	if !began {
		r.Moves = found
	}
	r.Finish()
	if err := r.Save(); err != nil {
		return err
	}
	moved := len(r.Changed())
	switch {
	case moved == 0 && stuck != nil:
		w.say("nothing was rolled back: the registry removes no tags")
	case moved == 0:
		w.say("nothing was rolled back: all %s are there already, every one read back", count(len(r.Moves), "tag"))
	default:
		w.say("rolled back %s to %s, every one read back", count(moved, "tag"), to)
	}
	return w.showMoves(r.Moves)
}

// rollbackOpen takes back a promotion that was interrupted, if that is what
// there is to roll back: it had moved some of its tags.
func (w *Workspace) rollbackOpen(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, o RollbackOptions) (done bool, err error) {
	now, err := index.Point(ctx, client, openTags(r))
	if err != nil {
		return false, err
	}
	c := journal.Close(r, now)
	ends := len(c.Moves) > 0 && o.To == "" && r.Reached(journal.Promoting) && !r.Closed()
	if o.DryRun {
		if ends {
			w.say("would roll back %s of %s %s, which was interrupted while its tags moved", count(len(c.Moves), "tag"), r.Kind, r.ID)
			return true, w.showMoves(c.Moves)
		}
		return false, nil
	}
	if err := w.closeOpen(ctx, p, client); err != nil || !ends {
		return false, err
	}
	if len(r.Stuck) > 0 {
		return true, fmt.Errorf("rolling back %s %s, which was interrupted while its tags moved: %s could not be moved", r.Kind, r.ID, count(len(r.Stuck), "tag"))
	}
	w.say("rolled back %s of %s %s, which was interrupted while its tags moved", count(len(c.Moves), "tag"), r.Kind, r.ID)
	return true, w.showMoves(c.Moves)
}

// abandon forgets a rollback that moved nothing, or put back what it had moved.
func (w *Workspace) abandon(r *journal.Record, began bool, failure error) error {
	var half *index.HalfMovedError
	var unsettled *index.UnsettledError
	if !began || errors.As(failure, &half) || errors.As(failure, &unsettled) {
		return nil
	}
	return w.journal.Remove(r)
}

// fillRollback decides what moves, and names for people where to. Records of the
// registry are asked where those of this workspace do not tell. What others have
// left between two tags is named: it may be in the way, or stay as it is.
func (w *Workspace) fillRollback(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record, id string) (string, error) {
	records, err := w.local()
	if err != nil {
		return "", err
	}
	remote, remoteErr := w.remote(ctx, p, client) // others may have released since
	if remoteErr == nil {
		ids, err := w.journal.IDs()
		if err != nil {
			return "", err
		}
		if _, err := w.halves(ctx, client, remote, ids); err != nil {
			return "", err
		}
	}
	everywhere := func() {
		records = union(records, remote)
		for _, old := range remote {
			w.journal.Behind(r, old.ID)
		}
	}
	if id != "" {
		to, err := record(records, id)
		var unknown *InputError
		if errors.As(err, &unknown) {
			if remoteErr != nil {
				return "", remoteErr
			}
			everywhere()
			to, err = record(records, id)
		}
		if err != nil {
			return "", err
		}
		if !to.Reached(journal.Promoted) || len(to.Moves) == 0 {
			return "", usage("Release without tags", fmt.Errorf("release %s did not come as far as its tags (%s)", to.ID, to.Step))
		}
		r.Restore(to, records)
		return "release " + to.ID, nil
	}
	now := journal.Tags{}
	point := func(tag string) (digest.Digest, error) {
		if d, ok := now[tag]; ok {
			return d, nil
		}
		read, err := index.Point(ctx, client, []string{tag})
		now[tag] = read[tag]
		return read[tag], err
	}
	if remoteErr != nil {
		w.status.Warn(fmt.Sprintf("only what was released from here is known: %v", remoteErr))
	}
	everywhere()
	if records, err = journal.Carried(records, point); err != nil {
		return "", err
	}
	published := journal.Published(records)
	if len(published) == 0 {
		return "", &journal.NoRecordError{Dir: w.path(), Want: "no release has moved a tag that was not rolled back since",
			Hint: "`mage releases` shows what is known here and in the registry, and `mage rollback -to=RELEASE` goes to one of them"}
	}
	top, err := journal.Current(published, point)
	if err != nil {
		return "", err
	}
	if top == nil { // somebody else has moved them: the promotion names the tags
		top = published[0]
	}
	r.Undoes, r.Moves = journal.IDs{top.ID}, journal.Undo(top)
	if to := journal.State(published, top, r.Moves); to != "" {
		return "release " + to, nil
	}
	return "what they pointed to before release " + top.ID, nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// digestName is a digest for people.
func digestName(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.String()
}

func (w *Workspace) showMoves(moves []journal.Move) error {
	t := ui.NewTable(ui.Column{Title: "TAG"}, ui.Column{Title: "FROM"}, ui.Column{Title: "TO"})
	t.Empty = "no tag moves"
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
