package devtools

import "context"

// Soak runs at full size what tests do in small, with the race detector: a
// release killed at every request, 1,000 faults of a registry over 100 releases,
// 200 devices, a pull over a bad line, one commit built in six environments, and 10,000 schedules of
// releases against a model.
func Soak(ctx context.Context) error {
	for _, args := range [][]string{
		{"-run=^TestCrash$", "./tasks", "-crash-points=100"},
		{"-run=^TestFaults$", "./internal/index", "-faults=1000"},
		{"-run=^TestManyDevices$", "./internal/smoke", "-devices=200"},
		{"-run=Kill|NoRemoval", "./internal/release", "-kill-step=1"},
		{"-run=^TestModel$", "./internal/release", "-schedules=10000"},
		{"-run=^TestPullAtSnailsPace$", "./internal/device", "-bad-line=20"},
		{"-run=^TestOneCommitOneDigest$", "./internal/build", "-every-target"},
	} {
		if err := run(ctx, "", "go", append([]string{"test", "-race", "-v", "-timeout=120m"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}
