package index

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/registry"
)

// The least and the longest pause before the tags are read again, and how many
// pauses another release may take to put its tags back.
const (
	leastPause = 150 * time.Millisecond
	mostPause  = 5 * time.Second
	maxPauses  = 8
)

// settle decides between releases that moved the same tags at the same moment,
// each of them unseen by the others: registries have no exchange that compares.
// The one that the last tag names has won; any other takes its moves back, and
// the winner makes again those of its own that this undid.
//
// This rests on time, as Fischer's algorithm for mutual exclusion does: between
// reading a tag and writing it nobody takes longer than a pause. There is no
// event to wait for.
func settle(ctx context.Context, client *registry.Client, due []Move, pause time.Duration, move func(context.Context, int) error) error {
	if len(due) < 2 {
		return nil // one tag is never a mix
	}
	for pauses := 1; ; pauses++ {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		present, err := heads(ctx, client, due)
		if err != nil {
			return fmt.Errorf("reading the tags again: %w", err)
		}
		settled := true
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(client.Jobs())
		for i, m := range due {
			switch present[i] {
			case m.Digest:
				continue
			case m.Previous: // another release has taken its own move back
				g.Go(func() error { return move(gctx, i) })
			default:
				if i == len(due)-1 || pauses == maxPauses {
					_ = g.Wait() // what has begun is taken back as well
					return &ConflictError{Tag: m.Tag, Previous: m.Previous, Found: present[i]}
				}
			}
			settled = false
		}
		if err := g.Wait(); err != nil || settled {
			return err
		}
	}
}
