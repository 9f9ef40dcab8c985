package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// begin opens the record of a release: the newest one where that did not end
// and has the same plan, so that what its tags pointed to before is not
// forgotten; else a new one. Fresh asks for a new one. What earlier attempts
// built is only history. Nothing open is left: closeOpen was called.
func (w *Workspace) begin(p *plan.Plan, epoch *time.Time, fresh bool) (*journal.Record, error) {
	if err := w.journal.Make(); err != nil {
		return nil, err
	}
	last, err := w.newest()
	if err != nil {
		return nil, err
	}
	if last != nil && !fresh && last.Continues(p.Identity()) {
		w.say("going on with release %s, which stopped %s", last.ID, stopped(last.Step))
		last.SetEpoch(epoch)
		last.Restart()
		return last, nil
	}
	r, err := w.journal.New(journal.Release)
	if err != nil {
		return nil, err
	}
	r.Plan = p.Identity()
	r.SetEpoch(epoch)
	if last != nil {
		r.Stuck = slices.Clone(last.Stuck)
	}
	for _, t := range p.Targets {
		tr := &journal.Target{Name: t.Name, Linked: !t.Published()}
		for _, tag := range t.Tags {
			tr.Tags = append(tr.Tags, tag.String())
		}
		r.Targets = append(r.Targets, tr)
	}
	return r, nil // saved when it is known what the tags point to
}

// newest reads the newest record, nil if there is none. One that cannot be read
// may hold tags that were left half moved, so it stops whatever would come next.
func (w *Workspace) newest() (*journal.Record, error) {
	ids, err := w.journal.IDs()
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return w.journal.Newest()
}

// readBefore notes what the tags point to when a release begins.
func (w *Workspace) readBefore(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) error {
	tags, err := movable(p)
	if err != nil {
		return err
	}
	unread := slices.DeleteFunc(tags, func(tag string) bool { _, ok := r.Before[tag]; return ok })
	now, err := index.Point(ctx, client, unread)
	if err != nil {
		return err
	}
	if r.Before == nil {
		r.Before = journal.Tags{}
	}
	for tag, d := range now {
		r.Before[tag] = d
	}
	return w.lookElsewhere(ctx, p, client, r)
}

// movable are the tags that a release of the plan sets, those of single
// platforms ahead of their index's. What platforms the sources of a target have
// is not known yet.
func movable(p *plan.Plan) ([]string, error) {
	var out []string
	for _, t := range p.Published() {
		var ps []ocispecs.Platform
		for _, b := range t.Builds {
			ps = append(ps, b.Platform)
		}
		for _, tag := range t.Tags {
			all, err := index.ArchTags(p.Release.ArchTags, tag.String(), ps)
			if err != nil {
				return nil, err
			}
			out = append(append(out, all...), tag.String())
		}
	}
	return out, nil
}

// built reports whether this run has built anything, which asked the registries
// whether they take a push.
func built(r *journal.Record) bool {
	return slices.ContainsFunc(r.Targets, func(t *journal.Target) bool {
		return slices.ContainsFunc(t.Children, func(c *journal.Child) bool { return !c.Reused })
	})
}

// moves reports whether a tag pointed to something else than it shall when the
// release began.
func moves(r *journal.Record) bool {
	return slices.ContainsFunc(r.Targets, func(t *journal.Target) bool {
		return slices.ContainsFunc(t.Tags, func(tag string) bool { return r.Before[tag] != t.Index })
	})
}

// local reads all records of this workspace, the oldest first. One that cannot
// be read is named and passed over.
func (w *Workspace) local() ([]*journal.Record, error) {
	return w.journal.All(func(_ string, err error) {
		w.status.Warn(err.Error() + "; it is left as it is, and not used")
	})
}

// record finds a release by its name, or by the beginning of it.
func record(records []*journal.Record, id string) (*journal.Record, error) {
	var found []string
	var one *journal.Record
	for _, r := range records {
		if strings.HasPrefix(r.ID, id) {
			found = append(found, r.ID)
			one = r
		}
	}
	switch len(found) {
	case 0:
		return nil, usage("Unknown release", fmt.Errorf("there is no release %q; `mage releases` lists them", id))
	case 1:
		return one, nil
	}
	return nil, usage("Ambiguous release", fmt.Errorf("%q begins the names of %d releases: %s", id, len(found), strings.Join(found, ", ")))
}
