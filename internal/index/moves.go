package index

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
)

// Tagging is what one target wants tagged.
type Tagging struct {
	Draft *Draft
	// Tags are full references, "localhost:5000/hello:1.2".
	Tags []string
}

// Moves plans the tags of all targets in the order they will move: those of
// one architecture, then the others, "latest" and its like last. Nothing is read
// or written: Promote does.
//
// archTags is a template of the tag for one platform, with {tag}, {os},
// {arch} and {variant}: "{tag}-{arch}{variant}" gives 1.2-armv6. "" makes none.
// A tag that one of the draft's sources was resolved from stays as it is.
func Moves(taggings []Tagging, archTags string) ([]journal.Move, error) {
	var moves []journal.Move
	taken := map[string]journal.Move{}
	add := func(m journal.Move) error {
		if other, twice := taken[m.Tag]; twice {
			return fmt.Errorf("tagging %q: it is wanted by %s and by %s; give one of them another tag, or change arch_tags", m.Tag, wanter(other), wanter(m))
		}
		taken[m.Tag] = m
		moves = append(moves, m)
		return nil
	}
	for _, t := range taggings {
		seen := map[string]bool{}
		for _, text := range t.Tags {
			repo, err := registry.Repository(text)
			if err != nil {
				return nil, err
			}
			tag, err := registry.Tag(text)
			if err != nil {
				return nil, err
			}
			ref := repo + ":" + tag
			if seen[ref] { // the same target may name it twice, as bake allows
				continue
			}
			seen[ref] = true
			if err := add(journal.Move{Target: t.Draft.Target, Tag: ref, Digest: t.Draft.Descriptor.Digest}); err != nil {
				return nil, err
			}
			if archTags == "" {
				continue
			}
			for _, child := range t.Draft.Children() {
				name, err := archTag(archTags, tag, *child.Platform)
				if err != nil {
					return nil, err
				}
				if slices.Contains(t.Draft.refs, repo+":"+name) {
					continue // the source's own tag, which may name its attestations too
				}
				m := journal.Move{Target: t.Draft.Target, Tag: repo + ":" + name, Platform: format(*child.Platform), Digest: child.Digest}
				if err := add(m); err != nil {
					return nil, err
				}
			}
		}
	}
	slices.SortStableFunc(moves, func(a, b journal.Move) int { return a.Rank() - b.Rank() })
	return moves, nil
}

func wanter(m journal.Move) string {
	if m.Platform != "" {
		return fmt.Sprintf("platform %q of target %q", m.Platform, m.Target)
	}
	return fmt.Sprintf("target %q", m.Target)
}

// ArchTags are the tags of single platforms that a tag has by a template, as
// full references: what Moves will move for it.
func ArchTags(template, ref string, ps []ocispecs.Platform) ([]string, error) {
	if template == "" {
		return nil, nil
	}
	repo, err := registry.Repository(ref)
	if err != nil {
		return nil, err
	}
	tag, err := registry.Tag(ref)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range ps {
		name, err := archTag(template, tag, p)
		if err != nil {
			return nil, err
		}
		out = append(out, repo+":"+name)
	}
	return out, nil
}

// archTag fills in the template of a platform's tag.
func archTag(template, tag string, p ocispecs.Platform) (string, error) {
	p = platforms.Normalize(p)
	name := strings.NewReplacer("{tag}", tag, "{os}", p.OS, "{arch}", p.Architecture, "{variant}", p.Variant).Replace(template)
	if match := reference.TagRegexp.FindString(name); match == "" || match != name {
		return "", fmt.Errorf("making the tag of %q: arch_tags %q gives %q, which is no tag (at most 128 letters, digits, \"_\", \".\", \"-\"); use {tag}, {os}, {arch} and {variant}", format(p), template, name)
	}
	return name, nil
}

// Point reads what tags point to now, all at once; "" for nothing.
func Point(ctx context.Context, client *registry.Client, tags []string) (journal.Tags, error) {
	moves := make([]journal.Move, len(tags))
	for i, tag := range tags {
		moves[i].Tag = tag
	}
	present, err := heads(ctx, client, moves)
	if err != nil {
		return nil, fmt.Errorf("reading what the tags point to now: %w", err)
	}
	out := journal.Tags{}
	for i, tag := range tags {
		out[tag] = present[i]
	}
	return out, nil
}

// heads returns what each move's tag names now, "" for nothing.
func heads(ctx context.Context, client *registry.Client, moves []journal.Move) ([]digest.Digest, error) {
	present := make([]digest.Digest, len(moves))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for i, m := range moves {
		g.Go(func() error {
			var err error
			present[i], err = head(gctx, client, m.Tag)
			return err
		})
	}
	return present, g.Wait()
}

// head returns what a tag names now, "" for nothing.
func head(ctx context.Context, client *registry.Client, tag string) (digest.Digest, error) {
	desc, err := client.Head(ctx, tag)
	if registry.IsNotFound(err) {
		return "", nil
	}
	return desc.Digest, err
}
