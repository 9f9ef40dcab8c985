package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/journal"
)

const (
	// The least pause before the tags are read again, and the longest.
	pauseHere  = 150 * time.Millisecond
	pauseThere = 500 * time.Millisecond
	pauseMost  = 30 * time.Second
	// A release has won when it found its own tags that many times in a row,
	// and gives up when another's stay for one pause less: who gives up may put
	// back a tag that both wanted alike, and the winner must still see that.
	readsToWin    = 3
	readsToGiveUp = 2
	// readsMost bounds it all, also if a registry gives old answers.
	readsMost = 12
)

// settle decides between releases that moved the same tags at the same moment,
// each of them unseen by the others: registries have no exchange that compares.
// The one that the last tag names may win; any other takes its moves back, and
// the winner makes again those of its own that this undid.
//
// This rests on time, as Fischer's algorithm for mutual exclusion does: between
// reading a tag and writing it nobody takes longer than a pause. There is no
// event to wait for. All moves are made by now, so an interruption waits for the
// decision.
func (r *promoter) settle(ctx context.Context) error {
	if len(r.due) == 0 {
		return nil
	}
	pause := r.pause()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readsMost*pause+restoreTime)
	defer cancel()
	won, stuck, fewest := 0, 0, len(r.due)+1
	for reads := 1; ; reads++ {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("reading the tags again: %w", ctx.Err())
		case <-timer.C:
		}
		again, foreign, err := r.look(ctx)
		var conflict *ConflictError
		switch {
		case errors.As(err, &conflict):
			return err
		case err != nil && reads >= readsMost:
			return err
		case err != nil: // the registry is ill for a moment, and the moves are made
			won = 0
			continue
		case len(again) == 0 && len(foreign) == 0:
			if won++; won == readsToWin {
				return nil
			}
			continue
		}
		won = 0
		if stuck++; len(foreign) < fewest {
			stuck, fewest = 1, len(foreign)
		}
		if len(foreign) > 0 && stuck >= readsToGiveUp || reads >= readsMost {
			return cmp.Or(append(foreign, &ConflictError{Tag: r.due[0].Tag, Previous: r.before[0], Found: r.before[0]})...)
		}
		var g errgroup.Group // none is cut off by another's failure
		g.SetLimit(r.client.Jobs())
		for _, i := range again {
			g.Go(func() error {
				err := r.move(ctx, i, r.Force || r.before[i] == "")
				var again *ConflictError
				if errors.As(err, &again) {
					return nil // seen with the next reading
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
}

func (r *promoter) pause() time.Duration {
	least := r.Pause
	if least == 0 {
		least = pauseHere
		if slices.ContainsFunc(r.due, func(m journal.Move) bool {
			host, _, _ := strings.Cut(m.Tag, "/")
			return !config.Loopback(host)
		}) {
			least = pauseThere
		}
	}
	return min(max(4*r.slowest, least), pauseMost)
}

// look reads the tags: which moves have to be made again, and which tags name
// something of another release. It is a ConflictError that the last one does.
func (r *promoter) look(ctx context.Context) (again []int, foreign []*ConflictError, err error) {
	present, err := heads(ctx, r.client, r.due)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the tags again: %w", err)
	}
	for i, m := range r.due {
		switch {
		case present[i] == m.Digest, r.kept[i] != "":
		case present[i] == r.before[i], r.Force: // another release has taken its own move back
			again = append(again, i)
		case i == len(r.due)-1:
			return nil, nil, &ConflictError{Tag: m.Tag, Previous: r.before[i], Found: present[i]}
		case r.before[i] == "": // who loses may be unable to remove it
			again = append(again, i)
		default:
			foreign = append(foreign, &ConflictError{Tag: m.Tag, Previous: r.before[i], Found: present[i]})
		}
	}
	return again, foreign, nil
}
