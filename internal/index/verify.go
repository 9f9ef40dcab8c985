package index

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
)

// Verify reads tags back and compares what they point to with what they shall.
// The error names each tag that is wrong.
func Verify(ctx context.Context, client *registry.Client, moves []journal.Move) error {
	now, err := read(ctx, client, moves)
	if err != nil {
		return err
	}
	var wrong []error
	for _, f := range journal.Misplaced(moves, now) {
		wrong = append(wrong, fmt.Errorf("reading tag %q back: it points to %s, not to %s; another release may have moved it: release again", f.Tag, orNothing(f.Now), orNothing(f.Want)))
	}
	return errors.Join(wrong...)
}

// read gives what the tags of moves point to. All of them are asked for their
// digest at once; one a repository and digest is read in full, so that a
// registry is not only taken at its word.
func read(ctx context.Context, client *registry.Client, moves []journal.Move) (journal.Tags, error) {
	type place struct {
		repo   string
		digest digest.Digest
	}
	now, full := journal.Tags{}, map[place]bool{}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(client.Jobs())
	for _, m := range moves {
		at := place{m.Repository(), m.Digest}
		whole := m.Digest != "" && !full[at]
		full[at] = true
		g.Go(func() error {
			var found digest.Digest
			var err error
			if whole {
				desc, _, getErr := client.Manifest(gctx, m.Tag)
				if found, err = desc.Digest, getErr; registry.IsNotFound(err) {
					found, err = "", nil
				}
			} else {
				found, err = head(gctx, client, m.Tag)
			}
			if err != nil {
				return fmt.Errorf("reading tag %q back: %w", m.Tag, err)
			}
			mu.Lock()
			defer mu.Unlock()
			now[m.Tag] = found
			return nil
		})
	}
	return now, g.Wait()
}
