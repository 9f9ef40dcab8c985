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

// attempt is one solve with a push from the worker. It reports whether the images
// were made, so that an error is about what came after.
type attempt func() (resp *client.SolveResponse, s *stream, made bool, err error)

// pushing solves for b's repository, and solves again where the images were made
// but their push from the worker failed and the registry, asked from here, takes
// pushes. Of its errors, refused is what the registry has against it, a
// *registry.Error; err is the solve's. A daemon has no codes for what a registry
// answered.
func pushing(ctx context.Context, w *worker.Worker, b *plan.Build, reg Registry, try attempt) (resp *client.SolveResponse, s *stream, refused, err error) {
	pause := pushPause
	for n := 1; ; n++ {
		var made bool
		resp, s, made, err = try()
		if err == nil || !made || reg == nil || ctx.Err() != nil || !ofPush(err, s) {
			return resp, s, nil, err
		}
		if refused := reg.CheckPush(ctx, b.Repository); refused != nil {
			return resp, s, refused, err
		}
		if n == pushes {
			return resp, s, unpushed(b, w, err), err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return resp, s, nil, context.Cause(ctx)
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
	return !errors.As(err, &exit) && !errors.As(err, &vertex) && !broken(err) && !(worker.Exhausted(err) && ranOut(err, s, false))
}

func unpushed(b *plan.Build, w *worker.Worker, err error) error {
	return &registry.Error{
		Kind: registry.Failed, Host: plan.Host(b.Repository), Ref: b.Repository, Err: err,
		Reason: fmt.Sprintf("does not take the image from worker %q, though it takes pushes from here: %v", w.Name, flat(err)),
		Hint:   fmt.Sprintf("look at the network between the worker and the registry, or let this machine push: worker %q { push = \"client\" }", w.Name),
	}
}
