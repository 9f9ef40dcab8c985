package build

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/archmage-build/archmage/internal/plan"
)

// Epoch is the time that all timestamps of a release are clamped to:
// SOURCE_DATE_EPOCH where it is set, else the commit time of a clean git
// checkout, else nil. SOURCE_DATE_EPOCH="" asks for none.
// See https://reproducible-builds.org/specs/source-date-epoch/.
func Epoch(ctx context.Context, dir string, lookup func(string) (string, bool)) (*time.Time, error) {
	if v, ok := lookup("SOURCE_DATE_EPOCH"); ok {
		t, err := parseEpoch(v)
		if err != nil {
			return nil, fmt.Errorf("reading the environment variable SOURCE_DATE_EPOCH: %w; unset it, or set it to what `git log -1 --format=%%ct` prints", err)
		}
		return t, nil
	}
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	changes, ok := git("status", "--porcelain", "--untracked-files=normal")
	if !ok || changes != "" {
		return nil, nil
	}
	text, ok := git("log", "-1", "--format=%ct")
	if !ok {
		return nil, nil
	}
	return parseEpoch(text)
}

// parseEpoch reads seconds since 1970; "" is nil.
func parseEpoch(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%q is no number of seconds since 1970", text)
	}
	t := time.Unix(n, 0).UTC()
	return &t, nil
}

// epoch is the time for one build: its own SOURCE_DATE_EPOCH argument, or the
// release's. It is called on builds that passed attrs.
func epoch(b *plan.Build, o Options) *time.Time {
	own := b.Spec.Args["SOURCE_DATE_EPOCH"]
	if own == nil {
		return o.Epoch
	}
	t, err := parseEpoch(*own)
	if err != nil {
		return nil
	}
	return t
}
