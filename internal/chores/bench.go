package chores

import "context"

// Bench runs the project's benchmarks once each: against docker buildx on the
// same workers, with workers taken away, and the scheduler by itself. They
// print ratios and fail where a figure that is promised does not hold. Run it
// on a machine that does nothing else.
func Bench(ctx context.Context) error {
	args := []string{"test", "-run=^$", "-timeout=30m", "-bench"}
	if err := run(ctx, "", "go", append(args, "^Benchmark(TwoTwins|ThreeTwins|Loss|StoppedMinute)$", "-benchtime=1x", "./tasks")...); err != nil {
		return err
	}
	return run(ctx, "", "go", append(args, "^Benchmark(Board|Fleet)$", "./internal/worker")...)
}
