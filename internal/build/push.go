package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/buildkit/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/worker"
)

// pushes is how often an image that is made is pushed from a worker. Each time is
// a solve of which all is cached.
const pushes = 4

// pushPause is the pause before the second push, doubled for each further one.
const pushPause = time.Second

// push solves b, by a function that also reports whether the image was made, and
// solves it again where the image was made but its push from
// the worker failed and the registry, asked from here, takes pushes. What the
// registry has against it is a *registry.Error. A daemon has no codes for what a
// registry answered.
func push(ctx context.Context, w *worker.Worker, b *plan.Build, carried bool, o Options, solve func() (*client.SolveResponse, *stream, bool, error)) (*client.SolveResponse, *stream, error) {
	pause := pushPause
	for n := 1; ; n++ {
		resp, s, made, err := solve()
		if err == nil {
			return resp, s, nil
		}
		if !made || carried || o.Registry == nil || ctx.Err() != nil || !ofPush(err, s) {
			return nil, s, failure(ctx, err, b, w, s, carried, o)
		}
		if refused := o.Registry.CheckPush(ctx, b.Repository); refused != nil {
			return nil, s, fmt.Errorf("building %s, pushing it: %w", b.ID(), refused)
		}
		if n == pushes {
			return nil, s, unpushed(b, w, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, s, context.Cause(ctx)
		case <-timer.C:
		}
		pause *= 2
	}
}

// ofPush reports whether an error that came after the image was made can be of
// its push: it is not the end of a step, of the worker or of the worker's room.
func ofPush(err error, s *stream) bool {
	var exit *gatewaypb.ExitError
	var vertex *errdefs.VertexError
	return !errors.As(err, &exit) && !errors.As(err, &vertex) && !broken(err) && (!worker.Exhausted(err) || !ranOut(err, s, false))
}

func unpushed(b *plan.Build, w *worker.Worker, err error) error {
	return fmt.Errorf("building %s: %w", b.ID(), &registry.Error{
		Kind: registry.Failed, Host: plan.Host(b.Repository), Ref: b.Repository, Err: err,
		Reason: fmt.Sprintf("does not take the image from worker %q, though it takes pushes from here: %v", w.Name, flat(err)),
		Hint:   fmt.Sprintf("look at the network between the worker and the registry, or let this machine push: worker %q { push = \"client\" }", w.Name),
	})
}
