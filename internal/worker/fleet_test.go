package worker_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

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

// Tasks that a worker gets at one time are run together, spread over the workers
// as single ones are; one that loses its worker goes on alone.
func TestFleetTogether(t *testing.T) {
	t.Parallel()
	f := openFleet(t, nil, hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{}))
	var tasks []worker.Task
	for i := range 6 {
		tasks = append(tasks, worker.Task{ID: fmt.Sprintf("app %d", i), Job: job(t, f)})
	}
	broken := errors.New("broken")
	var mu sync.Mutex
	var runs [][]int
	lost := false
	var moved []int
	both := make(chan struct{})
	errs := f.DoAll(t.Context(), tasks, func(i int, _ string, _ error) {
		mu.Lock()
		defer mu.Unlock()
		moved = append(moved, i)
	}, func(ctx context.Context, w *worker.Worker, which []int) []error {
		mu.Lock()
		runs = append(runs, which)
		n := len(runs)
		mu.Unlock()
		if n == 2 {
			close(both)
		}
		select { // the first two are there at once
		case <-both:
		case <-ctx.Done():
			return slices.Repeat([]error{ctx.Err()}, len(which))
		}
		mu.Lock()
		defer mu.Unlock()
		out := make([]error, len(which))
		for k, i := range which {
			switch {
			case i == 1 && !lost:
				lost = true
				out[k] = &worker.Lost{Worker: w.Name, Err: errors.New("transport is closing")}
			case i == 3:
				out[k] = broken
			}
		}
		return out
	})
	for i, err := range errs {
		if (i == 3) != errors.Is(err, broken) || i != 3 && err != nil {
			t.Errorf("task %d ended with %v", i, err)
		}
	}
	slices.Sort(moved)
	if !slices.Equal(moved, []int{1}) {
		t.Errorf("moved are %v", moved)
	}
	count := map[int]int{}
	for n, which := range runs {
		if n < 2 && len(which) != 2 {
			t.Errorf("run %d is of %v: both workers have two slots", n, which)
		}
		for _, i := range which {
			count[i]++
		}
		if slices.Contains(which, 1) && count[1] == 2 && len(which) != 1 {
			t.Errorf("what lost its worker is run with %v", which)
		}
	}
	if want := map[int]int{0: 1, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1}; !maps.Equal(count, want) {
		t.Errorf("run so often: %v", count)
	}
}

// Tasks that wait together are interrupted together, and nobody waits for ever.
func TestFleetTogetherInterrupted(t *testing.T) {
	t.Parallel()
	f := openFleet(t, nil, hosttest.Start(t, hosttest.Options{}))
	ctx, cancel := context.WithCancelCause(t.Context())
	var tasks []worker.Task
	for range 5 {
		tasks = append(tasks, worker.Task{ID: "app", Job: job(t, f)})
	}
	enough := errors.New("enough")
	errs := f.DoAll(ctx, tasks, func(int, string, error) {}, func(ctx context.Context, _ *worker.Worker, which []int) []error {
		cancel(enough)
		<-ctx.Done()
		return slices.Repeat([]error{context.Cause(ctx)}, len(which))
	})
	for i, err := range errs {
		if !errors.Is(err, enough) {
			t.Errorf("task %d ended with %v", i, err)
		}
	}
}

// An error of the build is final. Of a worker that is said to be lost and
// answers, the build is moved once, and nothing else happens to it.
func TestFleetErrors(t *testing.T) {
	t.Parallel()
	var said []string
	f := openFleet(t, func(s string) { said = append(said, s) }, hosttest.Start(t, hosttest.Options{}), hosttest.Start(t, hosttest.Options{}))
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
	// Nor does it move for ever.
	ran = nil
	own := errors.New("the registry does not answer")
	err = f.Do(t.Context(), job(t, f), "app linux/arm64", func(string, error) {}, func(_ context.Context, w *worker.Worker) error {
		ran = append(ran, w.Name)
		return &worker.Lost{Worker: w.Name, Own: own, Err: errors.New("context deadline exceeded")}
	})
	if !errors.Is(err, own) || !slices.Equal(ran, []string{"w0", "w1"}) {
		t.Errorf("a build that breaks everywhere ran on %v and ended with %v", ran, err)
	}
	if len(said) > 0 || len(f.Down()) > 0 {
		t.Errorf("of workers that answer it said %q, %v", said, f.Down())
	}

	// A step that failed on a full disk is tried once more, and is its own fault then.
	ran = nil
	err = f.Do(t.Context(), job(t, f), "app linux/arm64", func(string, error) {}, func(_ context.Context, w *worker.Worker) error {
		ran = append(ran, w.Name)
		return &worker.Lost{Worker: w.Name, Full: true, Own: broken, Err: errors.New("its disk is full")}
	})
	if !errors.Is(err, broken) || len(ran) != 2 {
		t.Errorf("a step that fails everywhere ran on %v and ended with %v", ran, err)
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

// What one build says of its worker ends no other.
func TestFleetOthersGoOn(t *testing.T) {
	t.Parallel()
	f := openFleet(t, nil, hosttest.Start(t, hosttest.Options{}))
	for name, lost := range map[string]*worker.Lost{
		"broken":         {Worker: "w0", Err: errors.New("no space left on device; transport is closing")},
		"full":           {Worker: "w0", Full: true, Err: errors.New("no space left on device")},
		"full in a step": {Worker: "w0", Full: true, Own: errors.New("exit code: 1"), Err: errors.New("its disk is full")},
	} {
		ready, ended := make(chan struct{}), make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			err := f.Do(t.Context(), job(t, f), "good linux/arm64", unmoved(t), func(ctx context.Context, _ *worker.Worker) error {
				close(ready)
				select {
				case <-ended:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if err != nil {
				t.Errorf("%s: the other build ended with %v", name, err)
			}
		})
		<-ready
		if err := f.Do(t.Context(), job(t, f), "bad linux/arm64", func(string, error) {}, func(context.Context, *worker.Worker) error { return lost }); err == nil {
			t.Errorf("%s: it succeeded", name)
		}
		// Nor is it in the way of what comes.
		if err := f.Do(t.Context(), job(t, f), "next linux/arm64", unmoved(t), func(context.Context, *worker.Worker) error { return nil }); err != nil {
			t.Errorf("%s: the next build ended with %v", name, err)
		}
		close(ended)
		others.Wait()
	}
}

// A worker that does not answer is lost, whatever was said of it, and taken back
// when it answers.
func TestFleetGone(t *testing.T) {
	t.Parallel()
	said := make(chan string, 100)
	d := hosttest.Start(t, hosttest.Options{})
	f := openFleet(t, func(s string) { said <- s }, d)
	ran := 0
	ended := make(chan error, 1)
	go func() {
		ended <- f.Do(t.Context(), job(t, f), "app linux/arm64", func(string, error) {}, func(ctx context.Context, w *worker.Worker) error {
			if ran++; ran > 1 {
				return nil
			}
			d.Kill()
			_, err := w.Client.Info(ctx)
			return &worker.Lost{Worker: w.Name, Err: err}
		})
	}()
	for _, want := range []string{"worker w0 is lost: ", "worker w0 is back"} {
		select {
		case got := <-said:
			if !strings.HasPrefix(got, want) {
				t.Errorf("it said %q, want %q", got, want)
			}
			if want == "worker w0 is lost: " {
				d.Run(t)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nobody said %q", want)
		}
	}
	if err := <-ended; err != nil || ran != 2 {
		t.Errorf("it ran %d times and ended with %v", ran, err)
	}
}

// Whether a disk is full is asked of the daemon, which has nothing more on it
// afterwards than a file of the question.
func TestFull(t *testing.T) {
	t.Parallel()
	d := hosttest.Start(t, hosttest.Options{Size: "64m"})
	w, err := worker.Connect(t.Context(), &config.Worker{Name: "small"}, d.Unix(), worker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	filler := filepath.Join(d.Dir, "root", "filler")
	for _, full := range []bool{false, true, false} {
		_ = os.Remove(filler) // not there at first
		if full {
			f, err := os.Create(filler)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			_ = f.Close()
		}
		if got := w.Full(t.Context()); got != full {
			t.Errorf("full: %v, want %v", got, full)
		}
	}
	u, err := w.Usage(t.Context())
	if err != nil || u.Cache > 2<<20 {
		t.Errorf("the questions leave %d bytes behind, %v", u.Cache, err)
	}
	d.Kill()
	if w.Full(t.Context()) {
		t.Error("a daemon that does not answer is full")
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A build whose files take long to get through a narrow uplink keeps its worker,
// whose answers wait in the same queue.
func TestFleetSlowUplink(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	hosttest.Start(t, hosttest.Options{Port: port})
	relay := hosttest.NewRelay(t, "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", port))
	spec := &config.Worker{Name: "far", Address: "tcp://" + relay.Address, Platforms: []ocispecs.Platform{arm64}}
	f, err := worker.OpenFleet(t.Context(), []*config.Worker{spec}, "forbid", func(ctx context.Context, s *config.Worker) (*worker.Worker, error) {
		return worker.Connect(ctx, s, s.Address, worker.Options{})
	}, func(s string) { t.Error(s) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	dir := t.TempDir()
	noise := make([]byte, 160<<10)
	_, _ = rand.Read(noise) // never fails
	if err := os.WriteFile(filepath.Join(dir, "noise"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	local, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	def, err := llb.Scratch().File(llb.Copy(llb.Local("context"), "/noise", "/noise")).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slowest := time.Duration(0)
	err = f.Do(t.Context(), job(t, f), "app linux/arm64", unmoved(t), func(ctx context.Context, w *worker.Worker) error {
		relay.Rate.Store(8 << 10)
		solved := make(chan error, 1)
		go func() {
			_, err := w.Client.Solve(ctx, def, client.SolveOpt{LocalMounts: map[string]fsutil.FS{"context": local}}, nil)
			solved <- err
		}()
		for {
			begin := time.Now()
			if _, err := w.Client.Info(ctx); err != nil {
				t.Error(err)
			}
			slowest = max(slowest, time.Since(begin))
			select {
			case err := <-solved:
				relay.Rate.Store(0)
				return err
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	if slowest < 6*time.Second {
		t.Errorf("the uplink is not narrow enough: its slowest answer took %s", slowest)
	}
	t.Logf("the slowest answer took %s", slowest)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr, _ := l.Addr().(*net.TCPAddr)
	return addr.Port
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
