package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/config"
	"github.com/archmage-build/archmage/internal/worker"
	"github.com/archmage-build/archmage/internal/worker/hosttest"
)

var arm64 = ocispecs.Platform{OS: "linux", Architecture: "arm64"}

// openFleet opens a fleet over daemons that build arm64, with two slots each.
func openFleet(t testing.TB, say func(string), daemons ...*hosttest.Daemon) *worker.Fleet {
	t.Helper()
	var specs []*config.Worker
	for i, d := range daemons {
		specs = append(specs, &config.Worker{Name: fmt.Sprintf("w%d", i), Address: d.Unix(), Slots: 2, Platforms: []ocispecs.Platform{arm64}})
	}
	f, err := worker.OpenFleet(t.Context(), specs, "forbid", func(ctx context.Context, s *config.Worker) (*worker.Worker, error) {
		return worker.Connect(ctx, s, s.Address, worker.Options{})
	}, say)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func job(t testing.TB, f *worker.Fleet) *worker.Job {
	t.Helper()
	j, err := f.Job("app linux/arm64", arm64, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func unmoved(t *testing.T) func(string, error) {
	return func(from string, why error) { t.Errorf("moved from %s: %v", from, why) }
}

// Builds use every slot, and no more.
func TestFleetSlots(t *testing.T) {
	t.Parallel()
	f := openFleet(t, nil, hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{}))
	var busy, most atomic.Int32
	var mu sync.Mutex
	by := map[string]int{}
	full := make(chan struct{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			err := f.Do(t.Context(), job(t, f), "app linux/arm64", unmoved(t), func(_ context.Context, w *worker.Worker) error {
				n := busy.Add(1)
				defer busy.Add(-1)
				mu.Lock()
				by[w.Name]++
				if most.Store(max(n, most.Load())); n == 4 && len(by) == 2 {
					select {
					case <-full:
					default:
						close(full)
					}
				}
				mu.Unlock()
				<-full // nobody leaves before all slots are taken
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() != 4 || by["w0"]+by["w1"] != 8 {
		t.Errorf("%d side by side, by worker %v", most.Load(), by)
	}
}

// An error of the build is final; one of the worker moves the build, and the
// worker is taken back.
func TestFleetErrors(t *testing.T) {
	t.Parallel()
	said := make(chan string, 100)
	f := openFleet(t, func(s string) { said <- s }, hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{}))
	broken := errors.New("the Dockerfile is broken")
	var ran []string
	err := f.Do(t.Context(), job(t, f), "app linux/arm64", unmoved(t), func(_ context.Context, w *worker.Worker) error {
		ran = append(ran, w.Name)
		return broken
	})
	if !errors.Is(err, broken) || !slices.Equal(ran, []string{"w0"}) {
		t.Errorf("a broken build ran on %v and ended with %v", ran, err)
	}

	ran = nil
	var from []string
	err = f.Do(t.Context(), job(t, f), "app linux/arm64", func(name string, _ error) { from = append(from, name) }, func(_ context.Context, w *worker.Worker) error {
		if ran = append(ran, w.Name); len(ran) == 1 {
			return &worker.Lost{Worker: w.Name, Err: errors.New("transport is closing")}
		}
		return nil
	})
	if err != nil || !slices.Equal(ran, []string{"w0", "w1"}) || !slices.Equal(from, []string{"w0"}) {
		t.Errorf("a build ran on %v, moved from %v, and ended with %v", ran, from, err)
	}
	for _, want := range []string{"worker w0 is lost: transport is closing", "worker w0 is back"} {
		select {
		case got := <-said:
			if got != want {
				t.Errorf("it said %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nobody said %q", want)
		}
	}

	// No room for a build anywhere: it ends, with both named.
	ran = nil
	err = f.Do(t.Context(), job(t, f), "app linux/arm64", func(string, error) {}, func(_ context.Context, w *worker.Worker) error {
		ran = append(ran, w.Name)
		return &worker.Lost{Worker: w.Name, Full: true, Err: errors.New("no space left on device")}
	})
	var none *worker.NoneError
	if !errors.As(err, &none) || len(ran) != 2 || len(none.Reasons) != 2 || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("without room it ran on %v and ended with %v", ran, err)
	}
}

// A cancelled build gives its place back, whether it waits or runs.
func TestFleetCancel(t *testing.T) {
	t.Parallel()
	f := openFleet(t, nil, hosttest.Start(t, hosttest.Options{}))
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var running, all sync.WaitGroup
	running.Add(2)
	for range 4 { // two run, two wait
		all.Go(func() {
			err := f.Do(ctx, job(t, f), "app linux/arm64", unmoved(t), func(ctx context.Context, _ *worker.Worker) error {
				running.Done()
				<-ctx.Done()
				return ctx.Err()
			})
			if !errors.Is(err, enough) {
				t.Errorf("ended with %v", err)
			}
		})
	}
	running.Wait()
	cancel(enough)
	all.Wait()
	for range 2 {
		if err := f.Do(t.Context(), job(t, f), "app linux/arm64", unmoved(t), func(context.Context, *worker.Worker) error { return nil }); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkFleet is what the fleet adds to four builds on a real worker.
func BenchmarkFleet(b *testing.B) {
	f := openFleet(b, nil, hosttest.Start(b, hosttest.Options{}))
	for b.Loop() {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				err := f.Do(b.Context(), job(b, f), "app linux/arm64", func(string, error) {}, func(context.Context, *worker.Worker) error { return nil })
				if err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	if per := b.Elapsed() / time.Duration(b.N); per > 50*time.Millisecond {
		b.Errorf("four builds take %s longer", per)
	}
}
