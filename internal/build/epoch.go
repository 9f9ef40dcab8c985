package build

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Epoch is the time that all timestamps of a release are clamped to:
// SOURCE_DATE_EPOCH where it is set, else the commit time of a clean git
// checkout, else nil. SOURCE_DATE_EPOCH="" asks for none.
// See https://reproducible-builds.org/specs/source-date-epoch/.
func Epoch(ctx context.Context, dir string, lookup func(string) (string, bool)) (*time.Time, error) {
	if v, ok := lookup("SOURCE_DATE_EPOCH"); ok {
		if v == "" {
			return nil, nil
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("the environment variable SOURCE_DATE_EPOCH is %q, which is no number of seconds since 1970", v)
		}
		t := time.Unix(n, 0).UTC()
		return &t, nil
	}
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", args...)
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
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, nil
	}
	t := time.Unix(n, 0).UTC()
	return &t, nil
}
