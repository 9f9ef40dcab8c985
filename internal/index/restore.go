package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/registry"
)

// restoreTime bounds a write of a tag, and the taking back of a few: both go on
// when the release itself was interrupted.
const restoreTime = 30 * time.Second

// HalfMovedError says that a promotion failed and that some tags could not be
// put back.
type HalfMovedError struct {
	// Tags name the new digest, or nobody knows what they name.
	Tags []string
	// Err is why the promotion failed, Restore why the tags were not put back.
	Err, Restore error
}

// Error implements error.
func (e *HalfMovedError) Error() string {
	return fmt.Sprintf("%v; these tags were moved before that and could not be put back (%v): %s", e.Err, e.Restore, strings.Join(e.Tags, ", "))
}

// Unwrap gives both causes.
func (e *HalfMovedError) Unwrap() []error { return []error{e.Err, e.Restore} }

// Remedy is what to do next.
func (e *HalfMovedError) Remedy() string {
	return "run the release again to move the rest, or roll it back, once the registry is well"
}

// restore takes back the moves that a failed promotion may have made, and
// returns the failure. A tag that names something of another release is left
// alone.
func restore(ctx context.Context, client *registry.Client, attempted []*journal.Move, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime+time.Duration(len(attempted))*restoreTime/100)
	defer cancel()
	errs := make([]error, len(attempted))
	var g errgroup.Group
	g.SetLimit(client.Jobs())
	for i, m := range attempted {
		if m != nil {
			g.Go(func() error { errs[i] = restoreOne(ctx, client, *m); return nil })
		}
	}
	_ = g.Wait() // each has its own error
	var left []string
	for i, err := range slices.Backward(errs) {
		if err != nil {
			left = append(left, attempted[i].Tag)
		}
	}
	if len(left) > 0 {
		return &HalfMovedError{Tags: left, Err: failure, Restore: errors.Join(errs...)}
	}
	return failure
}

func restoreOne(ctx context.Context, client *registry.Client, m journal.Move) error {
	now, err := head(ctx, client, m.Tag)
	if err != nil || now != m.Digest || m.Digest == m.Previous {
		return err
	}
	if m.Previous == "" {
		return client.Untag(ctx, m.Tag)
	}
	previous, err := registry.At(m.Tag[:strings.LastIndex(m.Tag, ":")], m.Previous)
	if err != nil {
		return err
	}
	desc, raw, err := client.Manifest(ctx, previous)
	if err != nil {
		return err
	}
	return client.PutManifest(ctx, m.Tag, desc.MediaType, raw)
}
