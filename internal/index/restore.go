package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archmage-build/archmage/internal/registry"
)

// restoreTime bounds the taking back of moves, which goes on when the release
// itself was interrupted.
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

// restore takes back the moves that a failed promotion may have made, the last
// first, and returns the failure. A tag that names something of another
// release is left alone.
func restore(ctx context.Context, client *registry.Client, attempted []Move, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	var left []string
	var errs []error
	for _, m := range slices.Backward(attempted) {
		if err := restoreOne(ctx, client, m); err != nil {
			left = append(left, m.Tag)
			errs = append(errs, err)
		}
	}
	if len(left) > 0 {
		return &HalfMovedError{Tags: left, Err: failure, Restore: errors.Join(errs...)}
	}
	return failure
}

func restoreOne(ctx context.Context, client *registry.Client, m Move) error {
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
