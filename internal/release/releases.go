package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/ui"
)

// releaseView is one release as `mage releases -json` prints it.
type releaseView struct {
	*journal.Record
	// Problem tells why the record cannot be read.
	Problem string `json:"problem,omitempty"`
	// Remote records were read from the registry.
	Remote bool `json:"remote,omitempty"`
}

// Releases lists what was released, the newest first: from here, and by others
// as the registry has it.
func (w *Workspace) Releases(ctx context.Context, asJSON bool) error {
	views := []releaseView{}
	bad := map[string]error{}
	local, err := w.journal.All(func(id string, err error) { bad[id] = err })
	if err != nil {
		return err
	}
	remote, err := w.published(ctx)
	w.status.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		w.status.Warn(fmt.Sprintf("only what was released from here is listed: %v", err))
	}
	for id, err := range bad {
		views = append(views, releaseView{Record: &journal.Record{ID: id}, Problem: err.Error()})
	}
	for _, r := range union(local, remote) {
		if bad[r.ID] == nil {
			views = append(views, releaseView{Record: r, Remote: r.Remote()})
		}
	}
	slices.SortFunc(views, func(a, b releaseView) int { return strings.Compare(b.ID, a.ID) })
	if asJSON {
		return w.writeJSON(views)
	}
	return w.showReleases(ctx, views)
}

// showReleases is the table of releases, with what is current.
func (w *Workspace) showReleases(ctx context.Context, views []releaseView) error {
	out := w.Streams.Out
	current := w.current(ctx, views)
	busy := w.journal.Busy()
	t := ui.NewTable(ui.Column{Title: "RELEASE", Keep: true}, ui.Column{Title: "WHEN", Keep: true}, ui.Column{Title: "TARGETS"}, ui.Column{Title: "TAGS"},
		ui.Column{Title: "COMMIT"}, ui.Column{Title: "STATE"}, ui.Column{Title: "CURRENT", Keep: true})
	t.Empty = "no release was made here yet; `mage release` makes one"
	for i, v := range views {
		if v.Problem != "" {
			t.Row(v.ID, "", "", "", "", out.Bad("unreadable: "+v.Problem), "")
			continue
		}
		var targets, tags []string
		for _, tr := range v.Targets {
			if tr.Linked {
				continue
			}
			targets = append(targets, tr.Name)
			for _, tag := range tr.Tags {
				if name := tag[strings.LastIndexByte(tag, ':')+1:]; !slices.Contains(tags, name) {
					tags = append(tags, name)
				}
			}
		}
		t.Row(v.ID, when(v.ID), strings.Join(targets, ", "), strings.Join(tags, ", "), commit(v.Record), state(out, v, busy && i == 0), current[v.ID])
	}
	return t.Write(out)
}

// when is the time of a release, which its name begins with, in the reader's zone.
func when(id string) string {
	stamp, _, _ := strings.Cut(id, "-")
	at, err := time.Parse("20060102T150405Z", stamp)
	if err != nil {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04")
}

// commit is what a release was made from, "" outside of git.
func commit(r *journal.Record) string {
	if r.Commit == "" {
		return ""
	}
	text := r.Commit[:min(len(r.Commit), 8)]
	if r.Dirty {
		text += ", changed"
	}
	return text
}

// state is how far a release came; busy that it is the one that a process works on.
func state(out *ui.Stream, v releaseView, busy bool) any {
	switch {
	case v.Kind == journal.Rollback && v.Restores != "":
		return "restored " + v.Restores
	case v.Kind == journal.Rollback:
		return "rolled back " + strings.Join(v.Undoes, ", ")
	case v.Remote:
		return out.Good("released elsewhere")
	case v.Step == journal.Verified:
		return out.Good("released")
	case busy:
		return out.Warn("under way")
	}
	return out.Warn("stopped " + stopped(v.Step))
}

// stopped says when a release ended that was not finished.
func stopped(s journal.Step) string {
	switch s {
	case journal.Built:
		return "after it was built"
	case journal.Assembled:
		return "after it was assembled"
	case journal.Uploaded:
		return "after it was uploaded"
	case journal.Proven:
		return "after the devices had run it"
	case journal.Promoting:
		return "while its tags moved"
	}
	return "while it was built"
}

// current says of each release which of its tags still point to what it made of
// them, where the registries tell. A tag belongs to the newest release that made
// the same of it.
func (w *Workspace) current(ctx context.Context, views []releaseView) map[string]string {
	var tags []string
	for _, v := range views {
		for _, m := range v.primary() {
			if !slices.Contains(tags, m.tag) {
				tags = append(tags, m.tag)
			}
		}
	}
	if len(tags) == 0 {
		return nil
	}
	_, p, err := w.Load(Selection{})
	if err != nil {
		return nil
	}
	client, err := w.clientOf(p, 1)
	if err != nil {
		return nil
	}
	now, err := index.Point(ctx, client, tags)
	if err != nil {
		return nil // the reader was told that the registry does not answer
	}
	out := map[string]string{}
	taken := map[string]bool{}
	for _, v := range views {
		all, here := v.primary(), []string{}
		for _, m := range all {
			if now[m.tag] != "" && now[m.tag] == m.index && !taken[m.tag] {
				taken[m.tag] = true
				here = append(here, m.tag[strings.LastIndexByte(m.tag, ':')+1:])
			}
		}
		switch len(here) {
		case 0:
		case len(all):
			out[v.ID] = "yes"
		default:
			out[v.ID] = strings.Join(here, ", ")
		}
	}
	return out
}

type pointing struct {
	tag   string
	index digest.Digest
}

// primary are the tags of a release's indexes; those of single platforms follow
// them.
func (v releaseView) primary() []pointing {
	if v.Record == nil || v.Kind != journal.Release || v.Step != journal.Verified {
		return nil
	}
	var out []pointing
	for _, t := range v.Targets {
		for _, tag := range t.Tags {
			out = append(out, pointing{tag, t.Index})
		}
	}
	return out
}

// published are the records that the registries have of the default targets;
// without a targets.hcl there are none.
func (w *Workspace) published(ctx context.Context) ([]*journal.Record, error) {
	_, p, err := w.Load(Selection{})
	if err != nil {
		return nil, err
	}
	client, err := w.clientOf(p, 1) // a registry that is down shall not hold up the list
	if err != nil {
		return nil, err
	}
	return w.remote(ctx, p, client)
}
