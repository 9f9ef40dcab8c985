package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/archmage-build/archmage/internal/build"
	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/worker"
)

// jobs finds who may build what, before anything is built, and says where a
// worker must do that is not of the architecture.
func (w *Workspace) jobs(ctx context.Context, p *plan.Plan, builds []*plan.Build, fleet *worker.Fleet, h history, o build.Options) (map[*plan.Build]*worker.Job, error) {
	out := map[*plan.Build]*worker.Job{}
	var foreign []string
	var errs []error
	for _, b := range builds {
		j, err := fleet.Job(b.ID(), b.Platform, h.worker(b), h.weight(b, p))
		if err == nil && len(j.Native) == 0 {
			if err = emulable(ctx, b, j, fleet, o); err == nil && !slices.Contains(foreign, b.PlatformName()) {
				foreign = append(foreign, b.PlatformName())
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			if !b.Optional {
				errs = append(errs, err)
			}
			continue
		}
		out[b] = j
	}
	if len(foreign) > 0 && p.Release.Emulation == "warn" && len(errs) == 0 {
		w.status.Warn(fmt.Sprintf("no worker has %s as its own: steps that run programs need emulation (emulation = \"forbid\" refuses this)", strings.Join(foreign, ", ")))
	}
	return out, errors.Join(errs...)
}

// emulable leaves only workers that can run the platform's programs, where the
// Dockerfile runs some. The alternative is an exec format error in the middle
// of a build.
func emulable(ctx context.Context, b *plan.Build, j *worker.Job, fleet *worker.Fleet, o build.Options) error {
	up := fleet.Workers()
	if len(up) == 0 {
		return nil
	}
	line, runs := build.RunsPrograms(ctx, b, up[0].Host, o)
	if !runs {
		return nil
	}
	without, err := fleet.Sift(ctx, j, b.Platform)
	if err != nil || len(j.Foreign) > 0 {
		return err
	}
	where := "its Dockerfile"
	if line > 0 {
		where = fmt.Sprintf("line %d of its Dockerfile", line)
	}
	return &worker.NoneError{
		Build: b.ID(),
		Reasons: []string{fmt.Sprintf("%s runs programs, and worker %s cannot run those of %s",
			where, strings.Join(without, ", "), b.PlatformName())},
		Hint: "add a native worker; or cross-compile in a stage FROM --platform=$BUILDPLATFORM; or install an emulator on the worker (Debian: apt-get install qemu-user-static binfmt-support)",
	}
}
