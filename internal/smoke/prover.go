package smoke

import (
	"context"
	"errors"
	"time"

	"github.com/archmage-build/archmage/internal/config"
)

// Prover is a machine that runs images: see OnDevice and OnWorker.
type Prover interface {
	spec() *config.Device
	// ready connects, if need be, and says what the machine is.
	ready(ctx context.Context) (machine, error)
	// wipe removes images of the repositories.
	wipe(ctx context.Context, repositories []string) error
	// pull gets a child by digest and compares what arrived with it; picks
	// asks as well what the machine takes from the index by itself.
	pull(ctx context.Context, t *Target, c *Child, picks bool) (pulled, error)
	// run runs one case on what was pulled.
	run(ctx context.Context, p pulled, c *Child, s *config.Smoke) (outcome, error)
	// tag says whether the target's tag gives the child on this machine, or
	// errNotNatural.
	tag(ctx context.Context, t *Target, c *Child) (bool, error)
	close() error
}

// errNotNatural says that the machine takes another platform by itself, so that
// what it gets for a tag proves nothing.
var errNotNatural = errors.New("the device takes another platform by itself")

// machine is what a prover said of itself.
type machine struct {
	// platforms it may be given, the best first. all says that it takes each
	// of them and not only the best.
	platforms []string
	all       bool
	// native are those that run on its own processor.
	native func(c *Child) bool
	// natural is the platform that it takes from an index by itself, or "".
	natural string
	facts   any
	// warning is something about the machine that weakens every proof.
	warning string
}

// pulled is an image on a machine.
type pulled struct {
	ref   string
	image any
	// strange says how it differs from what was asked for; "" if not.
	strange string
	// note is worth knowing, and no fault.
	note string
}

// outcome is what a run gave, whatever ran it.
type outcome struct {
	ended     bool
	exitCode  int
	oomKilled bool
	stdout    []byte
	stderr    []byte
	truncated bool
	missing   []string
	timedOut  bool
	http      *httpOutcome
	took      time.Duration
	pullTook  time.Duration
}

type httpOutcome struct {
	ok      bool
	problem string
	tries   int
}

// kept is how much of each stream of a run is kept, in bytes.
const kept = 256 << 10
