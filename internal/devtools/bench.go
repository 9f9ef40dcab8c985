package devtools

import (
	"context"
	"errors"
)

// Bench runs the project's benchmarks: against docker buildx on the same
// workers, with workers taken away, against crane on the same image, and the
// scheduler by itself. They print ratios and fail where a figure that is
// promised does not hold. Run it on a machine that does nothing else.
func Bench(ctx context.Context) error {
	var failed []error // one figure that does not hold hides no other
	for _, args := range [][]string{
		{"-bench=^Benchmark(TwoTwins|ThreeTwins|Loss|StoppedMinute)$", "-benchtime=1x", "./tasks"},
		{"-bench=^BenchmarkWarm$", "-benchtime=9x", "./tasks"},
		{"-bench=^BenchmarkAudit$", "-benchtime=3x", "./internal/audit"},
		{"-bench=^Benchmark(Board|Fleet)$", "./internal/worker"},
	} {
		failed = append(failed, run(ctx, "", "go", append([]string{"test", "-run=^$", "-timeout=30m"}, args...)...))
	}
	return errors.Join(failed...)
}
