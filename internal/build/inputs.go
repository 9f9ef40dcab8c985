package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/inputs"
	"github.com/archmage-build/archmage/internal/plan"
)

// ReadInputs reads what b is made from on a worker whose own platform is host.
// Bases are by context name. It is called after Prepare.
func ReadInputs(ctx context.Context, b *plan.Build, bases map[string]Base, host ocispecs.Platform, o Options) (*inputs.Reading, error) {
	opt, dirs, err := frontendOpt(b, bases, o)
	if err != nil {
		return nil, invalid(b, err)
	}
	parts := map[string]string{}
	if t := created(b, o); t != nil {
		parts["time of the commit"] = t.Format(time.RFC3339)
	}
	r, err := o.Inputs.Read(ctx, inputs.Build{Opt: opt, Dirs: dirs, Platform: host, Parts: parts})
	var unreadable *inputs.UnreadableError
	if errors.As(err, &unreadable) {
		return nil, &Error{Build: b.ID(), Err: unreadable, Hint: unreadable.Remedy()}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the inputs of %s: %w", b.ID(), err)
	}
	return r, nil
}

// RunsPrograms reports whether building b on a worker whose own platform is host
// executes programs of b's platform, and on which line of its Dockerfile first
// (0 if unknown). What cannot be told, such as a Dockerfile that only the worker
// fetches, counts as no.
func RunsPrograms(ctx context.Context, b *plan.Build, host ocispecs.Platform, o Options) (line int, runs bool) {
	bases := map[string]Base{}
	for name, need := range b.Needs { // not built yet, whatever it will be
		bases[name] = Base{Repository: cmp.Or(need.Repository, "localhost/unpushed"), Descriptor: ocispecs.Descriptor{Digest: digest.FromString(need.ID())}}
	}
	opt, dirs, err := frontendOpt(b, bases, o)
	if err != nil {
		return 0, false
	}
	return o.Inputs.Programs(ctx, inputs.Build{Opt: opt, Dirs: dirs, Platform: host}, platforms.Normalize(b.Platform))
}

// invalid is a target that BuildKit cannot be asked for.
func invalid(b *plan.Build, err error) error {
	hint := remedy(err)
	if hint == "" {
		hint = fmt.Sprintf("fix target %q and run the same command again", b.Target.Name)
	}
	return &Error{Build: b.ID(), Err: err, Hint: hint}
}
