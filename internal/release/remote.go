package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
)

// remoteDepth is how many images are looked at for the records that are
// attached to them.
const remoteDepth = 100

// place is an image in a repository.
type place struct {
	repo   string
	digest digest.Digest
}

// remote gathers the records that a registry has of a plan's tags, the oldest
// first: those attached to what the tags point to, to what these releases say
// the tags pointed to before, and so on. What cannot be read adds nothing.
func (w *Workspace) remote(ctx context.Context, p *plan.Plan, client *registry.Client) ([]*journal.Record, error) {
	now, err := index.Point(ctx, client, publishedTags(p))
	if err != nil {
		return nil, err
	}
	return w.attachedTo(ctx, p, client, places(now), remoteDepth)
}

// publishedTags are the tags of a plan's indexes.
func publishedTags(p *plan.Plan) []string {
	var tags []string
	for _, t := range p.Published() {
		for _, tag := range t.Tags {
			tags = append(tags, tag.String())
		}
	}
	return tags
}

// places are the images that tags point to, each once.
func places(tags journal.Tags) []place {
	var out []place
	for tag, d := range tags {
		at := place{journal.Move{Tag: tag}.Repository(), d}
		if d != "" && !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, func(a, b place) int { return strings.Compare(a.repo+string(a.digest), b.repo+string(b.digest)) })
	return out
}

func (w *Workspace) attachedTo(ctx context.Context, p *plan.Plan, client *registry.Client, next []place, depth int) ([]*journal.Record, error) {
	ours := map[string]bool{}
	for _, t := range p.Published() {
		for _, repo := range t.Repositories() {
			ours[repo] = true
		}
	}
	inPlan := func(repo string) bool { return ours[repo] }
	seen := map[place]bool{}
	found := map[string]*journal.Record{}
	for len(next) > 0 && len(seen) < depth {
		var mu sync.Mutex
		var level []*journal.Record
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(client.Jobs())
		for _, at := range next {
			seen[at] = true
			g.Go(func() error {
				records, err := w.readAttached(gctx, client, at, inPlan)
				mu.Lock()
				defer mu.Unlock()
				level = append(level, records...)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		next = nil
		for _, r := range level {
			if old := found[r.ID]; old == nil || old.Attempt < r.Attempt {
				found[r.ID] = r
			}
			for _, m := range r.Moves {
				at := place{m.Repository(), m.Previous}
				if m.Platform == "" && m.Previous != "" && !seen[at] && !slices.Contains(next, at) {
					next = append(next, at)
				}
			}
		}
	}
	return sorted(found), nil
}

// readAttached reads the records that are attached to one image. What others
// attached, or a newer archmage, is named and passed over.
func (w *Workspace) readAttached(ctx context.Context, client *registry.Client, at place, inPlan func(string) bool) ([]*journal.Record, error) {
	list, err := index.Referrers(ctx, client, at.repo, at.digest, index.ArtifactTypeRecord)
	if registry.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is attached to %s@%s: %w", at.repo, at.digest, err)
	}
	var out []*journal.Record
	for _, desc := range list {
		data, err := index.ReadReferrer(ctx, client, at.repo, desc)
		if err == nil {
			var r *journal.Record
			if r, err = journal.ParseAttached(data, inPlan); err == nil {
				out = append(out, r)
				continue
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		w.status.Warn(fmt.Sprintf("%s@%s: an attached record is not used: %v", at.repo, desc.Digest, err))
	}
	return out, nil
}

func sorted(found map[string]*journal.Record) []*journal.Record {
	var out []*journal.Record
	for _, r := range found {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *journal.Record) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// union adds the records of a registry to those of this workspace, which know
// more.
func union(local, remote []*journal.Record) []*journal.Record {
	found := map[string]*journal.Record{}
	for _, r := range append(remote[:len(remote):len(remote)], local...) {
		found[r.ID] = r
	}
	return sorted(found)
}

// lookElsewhere looks at tags that this workspace did not leave as they are: at
// the records that others attached to what they point to. A promotion of theirs
// that has moved some of its tags only is named; it may still be under way, so
// it is not touched, but what comes after it is undone to what was there before
// it.
func (w *Workspace) lookElsewhere(ctx context.Context, p *plan.Plan, client *registry.Client, r *journal.Record) error {
	ids, err := w.journal.IDs()
	if err != nil {
		return err
	}
	left := journal.Tags{}
	for _, id := range slices.Backward(ids[max(0, len(ids)-historyDepth):]) {
		old, err := w.journal.Read(id)
		if err != nil {
			continue // said where it matters
		}
		for _, m := range old.Moves {
			if _, ok := left[m.Tag]; !ok {
				left[m.Tag] = m.Digest
			}
		}
	}
	ours := true
	for tag, d := range r.Before {
		ours = ours && left[tag] == d
	}
	if ours {
		return nil
	}
	now := journal.Tags{} // of the indexes, which have the records
	for _, tag := range publishedTags(p) {
		now[tag] = r.Before[tag]
	}
	records, err := w.attachedTo(ctx, p, client, places(now), 1)
	if err != nil {
		w.status.Warn(err.Error())
		return nil //nolint:nilerr // it adds to what is known, and is no step of the release
	}
	for _, old := range records {
		w.journal.Behind(r, old.ID)
	}
	halves, err := w.halves(ctx, client, records, ids)
	for _, h := range halves {
		w.elsewhere = append(w.elsewhere, h.Moved...)
	}
	return err
}

// halves lists, and names, the promotions of other workspaces that have moved
// some of their tags only. Ids are those of this one's own records.
func (w *Workspace) halves(ctx context.Context, client *registry.Client, records []*journal.Record, ids []string) ([]journal.Halfway, error) {
	var tags []string
	for _, r := range records {
		for _, m := range r.Moves {
			tags = append(tags, m.Tag)
		}
	}
	slices.Sort(tags)
	now, err := index.Point(ctx, client, slices.Compact(tags))
	if err != nil {
		return nil, err
	}
	halves := slices.DeleteFunc(journal.Halves(records, now), func(h journal.Halfway) bool { return slices.Contains(ids, h.Record.ID) })
	for _, h := range halves {
		w.nameHalf(h.Record, h.Moved, h.Waiting)
	}
	return halves, nil
}

// nameHalf tells tag by tag where a promotion of another workspace stands.
func (w *Workspace) nameHalf(r *journal.Record, moved, waiting []journal.Move) {
	for _, m := range moved {
		w.status.Warn(fmt.Sprintf("%s %s of another workspace is under way, or was killed while its tags moved: %s points to %s already", r.Kind, r.ID, m.Tag, digestName(m.Digest)))
	}
	for _, m := range waiting {
		w.status.Warn(fmt.Sprintf("%s %s of another workspace is under way, or was killed while its tags moved: %s points to %s still", r.Kind, r.ID, m.Tag, digestName(m.Previous)))
	}
}

// attach pushes the record as a referrer of the index that each of its tags shall
// point to, and of the one it pointed to before: so it is found from any machine,
// also where a promotion died before the first of them moved. A registry that
// does not take it is a warning; the next run tries again.
func (w *Workspace) attach(ctx context.Context, client *registry.Client, r *journal.Record, known map[digest.Digest]ocispecs.Descriptor) error {
	data, err := r.Attached()
	if err != nil {
		return err
	}
	var subjects []place
	for _, m := range r.Moves {
		for _, d := range []digest.Digest{m.Digest, m.Previous} {
			at := place{m.Repository(), d}
			if m.Platform == "" && d != "" && !slices.Contains(subjects, at) {
				subjects = append(subjects, at)
			}
		}
	}
	errs := make([]error, len(subjects))
	var g errgroup.Group // each for itself
	g.SetLimit(client.Jobs())
	for i, at := range subjects {
		g.Go(func() error {
			desc, ok := known[at.digest]
			if !ok {
				desc, errs[i] = client.Head(ctx, at.repo+"@"+at.digest.String())
				if registry.IsNotFound(errs[i]) {
					errs[i] = nil // what a tag pointed to before may be gone
					return nil
				}
				if errs[i] != nil {
					return nil
				}
			}
			_, errs[i] = index.PushReferrer(ctx, client, at.repo, desc, index.ArtifactTypeRecord, nil, data)
			return nil
		})
	}
	_ = g.Wait() // each has its own error
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.Unattached = false
	for i, err := range errs {
		if err != nil {
			r.Unattached = true
			w.status.Warn(fmt.Sprintf("the record is not attached to %s, the next run tries again: %v", subjects[i].repo, err))
		}
	}
	return nil
}
