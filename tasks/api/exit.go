package api

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/embedded"
	"github.com/archmage-build/archmage/internal/index"
	"github.com/archmage-build/archmage/internal/journal"
	"github.com/archmage-build/archmage/internal/oci"
	"github.com/archmage-build/archmage/internal/registry"
	"github.com/archmage-build/archmage/internal/release"
	"github.com/archmage-build/archmage/internal/sign"
	"github.com/archmage-build/archmage/internal/smoke"
	"github.com/archmage-build/archmage/internal/ui"
	"github.com/archmage-build/archmage/internal/worker"
)

// The exit codes of every task.
const (
	ExitUsage       = 2   // usage or configuration
	ExitBuild       = 3   // a build failed
	ExitRegistry    = 4   // a registry refused, or a tag is in conflict
	ExitSmoke       = 5   // an image did not run as it should on a device
	ExitAudit       = 6   // an image is not what it should be
	ExitWorker      = 7   // no worker for a platform
	ExitHook        = 8   // a hook of the project stopped it
	ExitInterrupted = 130 // Ctrl-C, or a lost terminal
)

// Error is what every function here returns. Its text is for people, with hints;
// Unwrap gives the cause.
type Error struct {
	Code int
	text string
	err  error
}

func (e *Error) Error() string { return e.text }
func (e *Error) Unwrap() error { return e.err }

// ExitStatus is the code that mage ends with.
func (e *Error) ExitStatus() int { return e.Code }

var errInterrupted = errors.New("interrupted: everything was stopped; run the same command again to go on")

// interruptible ends the context on the signals that end a session. Mage traps
// the first of them only, and without a cause. What must not be cut off, such as
// putting tags back, goes on until a second signal; then it tells what it left.
func interruptible(ctx context.Context) (context.Context, func()) {
	stop, cancelStop := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancelCause(index.WithStop(ctx, stop))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for _, end := range []context.CancelCauseFunc{cancel, cancelStop} {
			select {
			case <-signals:
				// The second is ours alone: mage would end at once, without a word
				// of what is left.
				signal.Reset(os.Interrupt)
				signal.Notify(signals, os.Interrupt)
				end(errInterrupted)
			case <-stop.Done():
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		cancelStop(nil)
	}
}

// failure says what went wrong. What the configuration is refused for is shown
// with its lines at once.
func failure(ctx context.Context, s *ui.Streams, err error) error {
	if err == nil {
		return nil
	}
	var input *release.InputError
	if errors.As(err, &input) {
		text := ui.Count(input.Diags)
		annotate(s, ui.Annotations(input.Diags)...)
		if werr := ui.Diagnostics(s.Err, input.Diags, input.Sources); werr != nil {
			text = werr.Error()
		}
		return &Error{ExitUsage, text, err}
	}
	if ctx.Err() != nil {
		var half *index.HalfMovedError
		var open *index.UnsettledError
		if !errors.As(err, &half) && !errors.As(err, &open) {
			err = context.Cause(ctx)
			if errors.Is(err, errInterrupted) {
				return &Error{ExitInterrupted, err.Error(), err}
			}
		}
		return &Error{ExitInterrupted, ui.Error(s.Err.Palette, err), err}
	}
	annotate(s, ui.Annotation("archmage", err.Error()))
	return &Error{code(err), ui.Error(s.Err.Palette, err), err}
}

// annotate shows errors on the page of a workflow's run.
func annotate(s *ui.Streams, lines ...string) {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return
	}
	for _, line := range lines {
		fmt.Fprintln(s.Err, line) // GitHub reads both streams
	}
}

// code classes an error. Where several builds failed for several reasons, the
// first class that fits is the one that explains the others.
func code(err error) int {
	var (
		none     *worker.NoneError
		connect  *worker.ConnectError
		compile  *embedded.CompileError
		failed   *build.Error
		lost     *worker.Lost
		reg      *registry.Error
		conflict *index.ConflictError
		platform *index.PlatformError
		finding  *release.AuditError
		growth   *release.GrowthError
		differs  *release.DifferenceError
		proven   *smoke.NotProvenError
		tagProof *release.TagProofError
		half     *index.HalfMovedError
		open     *index.UnsettledError
		untag    *index.UntagError
		checked  *release.UncheckedError
		source   *index.SourceError
		claim    *oci.AttestationError
		busy     *journal.BusyError
		missing  *journal.NoRecordError
		key      *sign.KeyError
		hook     *release.HookError
	)
	switch {
	case errors.As(err, &hook):
		return ExitHook
	case errors.As(err, &none), errors.As(err, &connect), errors.As(err, &compile), errors.As(err, &lost):
		return ExitWorker
	case errors.As(err, &failed):
		return ExitBuild
	case errors.As(err, &proven), errors.As(err, &tagProof), errors.As(err, &checked) && checked.Proof:
		return ExitSmoke
	case errors.As(err, &platform), errors.As(err, &finding), errors.As(err, &growth), errors.As(err, &source), errors.As(err, &claim), errors.As(err, &checked), errors.As(err, &differs):
		return ExitAudit
	case errors.As(err, &reg), errors.As(err, &conflict), errors.As(err, &half), errors.As(err, &open), errors.As(err, &untag):
		return ExitRegistry
	case errors.As(err, &busy), errors.As(err, &missing), errors.As(err, &key):
		return ExitUsage
	}
	return 1
}
