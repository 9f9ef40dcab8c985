package chores

import "context"

// Bench runs the project's benchmarks: against docker buildx on the same
// workers, with workers taken away, against crane on the same image, and the
// scheduler by itself. They print ratios and fail where a figure that is
// promised does not hold. Run it on a machine that does nothing else.
func Bench(ctx context.Context) error {
	for _, args := range [][]string{
		{"-bench=^Benchmark(TwoTwins|ThreeTwins|Loss|StoppedMinute)$", "-benchtime=1x", "./tasks"},
		{"-bench=^BenchmarkWarm$", "-benchtime=9x", "./tasks"},
		{"-bench=^BenchmarkAudit$", "-benchtime=3x", "./internal/audit"},
		{"-bench=^Benchmark(Board|Fleet)$", "./internal/worker"},
	} {
		if err := run(ctx, "", "go", append([]string{"test", "-run=^$", "-timeout=30m"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}
