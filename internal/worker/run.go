package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/credential"
)

// RunRequest is one run of a published image on a worker.
type RunRequest struct {
	// Ref names the image by the digest of its manifest: repository@sha256:….
	Ref string
	// Platform the image is for.
	Platform ocispecs.Platform
	// Args are the arguments of the image's own entrypoint; none: the image's.
	Args []string
	// Env is added to the image's environment.
	Env map[string]string
	// Files must exist in the container when it has ended, as absolute paths.
	Files []string
	// Pull and Timeout bound the pull and the run itself.
	Pull    time.Duration
	Timeout time.Duration
	// Output is how many bytes of stdout and of stderr are kept.
	Output int64
}

// RunResult is what a run gave.
type RunResult struct {
	// Config is the platform that the image's config states.
	Config ocispecs.Platform
	// ExitCode is the entrypoint's own.
	ExitCode int
	Stdout   []byte
	Stderr   []byte
	// StdoutSize and StderrSize are the bytes written, kept or not.
	StdoutSize int64
	StderrSize int64
	// Missing are the files that were not there.
	Missing []string
	// TimedOut says that the run was ended at its timeout.
	TimedOut bool
	// PullTime and RunTime are what the two took.
	PullTime time.Duration
	RunTime  time.Duration
}

// RunStage is the part of a run that went wrong.
type RunStage string

// The stages of a run.
const (
	RunPull  RunStage = "pulling"
	RunStart RunStage = "starting"
)

// RunError says that the entrypoint of an image was not run to its end.
type RunError struct {
	Stage RunStage
	Ref   string
	Err   error
}

func (e *RunError) Error() string { return fmt.Sprintf("%s %q: %v", e.Stage, e.Ref, e.Err) }

func (e *RunError) Unwrap() error { return e.Err }

// Run pulls an image by digest onto the worker and runs its entrypoint there,
// in a container of the worker with a network of its own. Nothing is cached of
// the run, and nothing of it stays. The exit code of the entrypoint is a
// result; an error (a RunError, or the context's cause) means that there is
// none.
func (w *Worker) Run(ctx context.Context, req RunRequest) (RunResult, error) {
	r := &running{req: req, stdout: &beginning{limit: req.Output}, stderr: &beginning{limit: req.Output}}
	_, err := w.Client.Build(ctx, w.solveOpt(req.Ref), "archmage", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		if err := r.do(ctx, c); err != nil {
			return nil, err
		}
		return gateway.NewResult(), nil
	}, nil)
	// After an interruption the process may still be writing.
	r.result.Stdout, r.result.StdoutSize = r.stdout.read()
	r.result.Stderr, r.result.StderrSize = r.stderr.read()
	switch {
	case ctx.Err() != nil:
		return r.result, context.Cause(ctx)
	case r.failed != nil: // Build flattens what the function returned
		return r.result, r.failed
	case err != nil && !r.done:
		return r.result, &RunError{Stage: RunStart, Ref: req.Ref, Err: reason(err)}
	}
	return r.result, nil
}

// running is one run under way.
type running struct {
	req            RunRequest
	stdout, stderr *beginning
	result         RunResult
	failed         error
	done           bool
}

func (r *running) do(ctx context.Context, c gateway.Client) error {
	image, root, err := r.pull(ctx, c)
	if err == nil {
		err = r.start(ctx, c, image, root)
	}
	r.failed, r.done = err, err == nil
	return err
}

var errPullTimeout = errors.New("the pull took longer than its timeout")

func (r *running) pull(ctx context.Context, c gateway.Client) (*ocispecs.Image, gateway.Reference, error) {
	begin := time.Now()
	defer func() { r.result.PullTime = time.Since(begin) }()
	outer := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, r.req.Pull, errPullTimeout)
	defer cancel()
	fail := func(err error) error {
		if ctx.Err() != nil && outer.Err() == nil {
			return &RunError{Stage: RunPull, Ref: r.req.Ref, Err: errPullTimeout}
		}
		return &RunError{Stage: RunPull, Ref: r.req.Ref, Err: reason(err)}
	}
	_, _, raw, err := c.ResolveImageConfig(ctx, r.req.Ref, sourceresolver.Opt{
		LogName:  "config of " + r.req.Ref,
		ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &r.req.Platform, ResolveMode: pb.AttrImageResolveModeForcePull},
	})
	if err != nil {
		return nil, nil, fail(err)
	}
	image := &ocispecs.Image{}
	if err := json.Unmarshal(raw, image); err != nil {
		return nil, nil, fail(fmt.Errorf("its config is not readable: %w", err))
	}
	r.result.Config = image.Platform
	def, err := llb.Image(r.req.Ref, llb.Platform(r.req.Platform), llb.ResolveModeForcePull,
		llb.WithCustomNamef("pull %s", r.req.Ref)).Marshal(ctx, llb.Platform(r.req.Platform))
	if err != nil {
		return nil, nil, fail(err)
	}
	solved, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, nil, fail(err)
	}
	root, err := solved.SingleRef()
	if err != nil {
		return nil, nil, fail(err)
	}
	return image, root, nil
}

func (r *running) start(ctx context.Context, c gateway.Client, image *ocispecs.Image, root gateway.Reference) error {
	fail := func(err error) error {
		return &RunError{Stage: RunStart, Ref: r.req.Ref, Err: reason(err)}
	}
	args := slices.Clone(image.Config.Entrypoint)
	if len(r.req.Args) > 0 {
		args = append(args, r.req.Args...)
	} else {
		args = append(args, image.Config.Cmd...)
	}
	if len(args) == 0 {
		return fail(errors.New("the image has neither an entrypoint nor a command; give the Dockerfile an ENTRYPOINT, or the smoke block a command"))
	}
	ctr, err := c.NewContainer(ctx, gateway.NewContainerRequest{
		Mounts:   []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, Ref: root}},
		Platform: &pb.Platform{OS: r.req.Platform.OS, Architecture: r.req.Platform.Architecture, Variant: r.req.Platform.Variant},
		// Most daemons would give it the host's own, with all that listens there.
		NetMode: pb.NetMode_NONE,
	})
	if err != nil {
		return fail(err)
	}
	defer func() { _ = ctr.Release(context.WithoutCancel(ctx)) }()

	cwd := image.Config.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	begin := time.Now()
	defer func() { r.result.RunTime = time.Since(begin) }()
	process, err := ctr.Start(ctx, gateway.StartRequest{
		Args: args, Env: environment(image.Config.Env, r.req.Env), User: image.Config.User, Cwd: cwd,
		Stdout: r.stdout, Stderr: r.stderr,
	})
	if err != nil {
		return fail(err)
	}
	if err := r.wait(ctx, process); err != nil {
		return fail(err)
	}
	for _, f := range r.req.Files {
		if r.result.TimedOut {
			break
		}
		if _, err := ctr.StatFile(ctx, gateway.StatContainerRequest{StatRequest: gateway.StatRequest{Path: f}}); err != nil {
			if errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "no such file") {
				r.result.Missing = append(r.result.Missing, f)
				continue
			}
			return fail(fmt.Errorf("looking for the file %s: %w", f, err))
		}
	}
	return nil
}

// wait waits for the end of the process, or ends it.
func (r *running) wait(ctx context.Context, process gateway.ContainerProcess) error {
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	timeout := time.NewTimer(r.req.Timeout)
	defer timeout.Stop()
	var err error
	select {
	case err = <-ended:
	case <-timeout.C:
		r.result.TimedOut = true
		// Releasing the container ends the process in any case.
		_ = process.Signal(ctx, syscall.SIGKILL)
		select {
		case err = <-ended:
		case <-time.After(time.Second):
			return nil
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var exit *gatewaypb.ExitError
	if errors.As(err, &exit) { // what runc cannot execute ends with 255 too, and says so on stderr
		r.result.ExitCode = int(exit.ExitCode)
		return nil
	}
	if r.result.TimedOut {
		return nil
	}
	return err
}

// Config reads what the worker itself gets for a reference and a platform: the
// bytes of the image's config. With a tag, it is what the tag names now.
func (w *Worker) Config(ctx context.Context, ref string, p ocispecs.Platform) ([]byte, error) {
	var raw []byte
	_, err := w.Client.Build(ctx, w.solveOpt(ref), "archmage", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		var err error
		_, _, raw, err = c.ResolveImageConfig(ctx, ref, sourceresolver.Opt{
			LogName:  "config of " + ref,
			ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &p, ResolveMode: pb.AttrImageResolveModeForcePull},
		})
		return gateway.NewResult(), err
	}, nil)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &RunError{Stage: RunPull, Ref: ref, Err: reason(err)}
	}
	return raw, nil
}

// solveOpt lets the daemon log in to the registry of an image.
func (w *Worker) solveOpt(ref string) client.SolveOpt {
	repo, err := credential.OfRepository(ref)
	if err != nil { // the daemon will refuse it
		return client.SolveOpt{}
	}
	return client.SolveOpt{Session: []session.Attachable{w.Auth(repo)}}
}

// environment lays the variables over those of the image.
func environment(image []string, over map[string]string) []string {
	out := slices.DeleteFunc(slices.Clone(image), func(kv string) bool {
		k, _, _ := strings.Cut(kv, "=")
		_, ok := over[k]
		return ok
	})
	for _, k := range slices.Sorted(maps.Keys(over)) {
		out = append(out, k+"="+over[k])
	}
	return out
}

// beginning keeps the first bytes written to it and counts the rest.
type beginning struct {
	limit int64

	mu   sync.Mutex
	size int64
	kept []byte
}

func (b *beginning) read() ([]byte, int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.kept), b.size
}

func (b *beginning) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := b.limit - int64(len(b.kept)); room > 0 {
		b.kept = append(b.kept, p[:min(room, int64(len(p)))]...)
	}
	b.size += int64(len(p))
	return len(p), nil
}

func (b *beginning) Close() error { return nil }

// Proves says whether what runs on the worker runs on its own processor.
func (w *Worker) Proves(p ocispecs.Platform) bool {
	name := config.FormatPlatform(p)
	return slices.ContainsFunc(native(w.Host), func(o ocispecs.Platform) bool { return config.FormatPlatform(o) == name }) || w.Builds(p)
}
