package build

import (
	"context"
	"errors"
	"fmt"
	"strings"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/worker"
)

// failure sorts an error of a solve: interrupted, the worker's, or the build's.
// What a step printed decides nothing, as anything may be printed.
func failure(ctx context.Context, err error, b *plan.Build, w *worker.Worker, s *stream, carried bool, o Options) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	own := describe(err, b, s, o)
	var exit *gatewaypb.ExitError
	switch {
	case broken(err): // a step that was cut short has an exit code too
		return &worker.Lost{Worker: w.Name, Own: own, Err: flat(err)}
	case errors.As(err, &exit):
		if !w.Full(ctx) {
			own.Hint = stepHint(exit.ExitCode, worker.Exhausted(err))
			return own
		}
		own.Hint = fmt.Sprintf("the disk of worker %q is full: make room there, for example with `mage wipe -workers`", w.Name)
		return &worker.Lost{Worker: w.Name, Full: true, Own: own, Err: fmt.Errorf("its disk is full, and a step failed: %w", own.Err)}
	case worker.Exhausted(err) && ranOut(err, s, carried):
		return &worker.Lost{Worker: w.Name, Full: true, Err: flat(err)}
	}
	return own
}

// broken reports whether the solve was cut short, by the connection or by the
// daemon, and did not come to an end of its own.
func broken(err error) bool {
	switch grpcerrors.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
		return true
	default:
		return false
	}
}

// ranOut reports whether it was the daemon that had no space or memory left. A
// message that was too large has the same code, before anything is solved, and
// so has a full disk of this machine, where it takes the image.
func ranOut(err error, s *stream, carried bool) bool {
	var vertex *errdefs.VertexError
	return errors.As(err, &vertex) || (!carried && s.begun())
}

// describe makes err the build's own.
func describe(err error, b *plan.Build, s *stream, o Options) *Error {
	out := &Error{Build: b.ID(), Err: flat(err), Hint: remedy(err)}
	if step := s.failed(err, b.PlatformName()); step != nil {
		out.Step, out.Log = step.title(b.PlatformName()), step.log.last()
		out.Err = errors.New(step.reason)
		if text, hint, ok := absent(b, o, step.name, step.reason); ok {
			out.Err, out.Hint = errors.New(text), hint
		}
	}
	for _, src := range errdefs.Sources(err) {
		var text strings.Builder
		if src.Print(&text) == nil {
			out.Source = strings.TrimSpace(text.String())
			break
		}
	}
	if out.Hint == "" {
		out.Hint = again
	}
	return out
}

const again = "fix it and run the same command again: the platforms that were built are kept"

// Exit codes of what did not run: a shell's for a program that it cannot
// execute, and runc's.
const (
	exitNotExecutable = 126
	exitNotStarted    = gatewaypb.UnknownExitStatus
)

// stepHint is the advice for a step that ended with a code. BuildKit marks one
// whose processes the kernel killed for want of memory.
func stepHint(code uint32, exhausted bool) string {
	if exhausted {
		return "the step ran out of memory on the worker: give the worker more, or the step less to do at a time"
	}
	if code == exitNotExecutable || code == exitNotStarted {
		return fmt.Sprintf("with exit code %d the program could not be executed: if it is of another architecture than the worker's, use a native worker, cross-compile with FROM --platform=$BUILDPLATFORM, or install binfmt handlers on the worker", code)
	}
	return again
}

// flat drops the stack trace and gRPC's wrapping: mage prints errors with %+v.
func flat(err error) error {
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	for _, prefix := range []string{"rpc error: code = Unknown desc = ", "failed to solve: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return errors.New(text)
}

// remedy gives advice for what the daemon could not do, from its own words: it
// has no codes for these. It decides nothing.
func remedy(err error) string {
	text := err.Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("failed to read dockerfile") && has("larger than max"):
		return "the Dockerfile is larger than BuildKit reads: keep what is long in files that it copies"
	case has("failed to read dockerfile"):
		return "check context and dockerfile of the target; dockerfile is relative to the context"
	case has("docker.io/") && (has("i/o timeout") || has("no such host") || has("connection refused")):
		return "the worker cannot reach Docker Hub: check its network, or name another registry: in FROM, or for the scanner of an SBOM as generator= in attest"
	case has("401 Unauthorized") || has("403 Forbidden") || has("insufficient_scope") || has("authorization failed") || has("no basic auth credentials"):
		return "the registry wants credentials: run `docker login` for its host on this machine"
	case has("server gave HTTP response to HTTPS client"):
		return "the registry speaks plain HTTP: add registry \"HOST\" { insecure = true } to targets.hcl"
	case has("is not allowed") && has("entitlement"):
		return "the worker does not grant the entitlement: start its buildkitd with --allow-insecure-entitlement"
	}
	return ""
}
