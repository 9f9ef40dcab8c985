package worker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simulate runs jobs on a board in simulated time and returns the makespan and
// who did what. Each job takes its duration on whichever worker.
func simulate(b *Board, jobs []*Job, took func(*Job) time.Duration) (time.Duration, map[*Job]int) {
	type running struct {
		end time.Duration
		w   int
	}
	for _, j := range jobs {
		b.Put(j)
	}
	placed := map[*Job]int{}
	var active []running
	var now time.Duration
	for {
		for {
			j, w, ok := b.Next()
			if !ok {
				break
			}
			placed[j] = w
			active = append(active, running{now + took(j), w})
		}
		if len(active) == 0 {
			return now, placed
		}
		slices.SortFunc(active, func(a, b running) int { return int(a.end - b.end) })
		now = active[0].end
		b.Free(active[0].w)
		active = active[1:]
	}
}

func everyone(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// Four equal builds on two one-slot twins take the time of two, not of four.
func TestTwinsShare(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{2: 10 * time.Second, 3: 10 * time.Second, 4: 5 * time.Second} {
		b := NewBoard(slices.Repeat([]int{1}, n))
		var jobs []*Job
		for range 4 {
			jobs = append(jobs, &Job{Native: everyone(n), Last: -1})
		}
		got, _ := simulate(b, jobs, func(*Job) time.Duration { return 5 * time.Second })
		if got != want {
			t.Errorf("%d twins took %s, want %s", n, got, want)
		}
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	next := func(b *Board, j *Job) int {
		b.Put(j)
		_, w, ok := b.Next()
		if !ok {
			b.Remove(j)
			return -1
		}
		return w
	}
	b := NewBoard([]int{2, 4, 4})
	if w := next(b, &Job{Native: []int{0, 1, 2}, Last: 2}); w != 2 {
		t.Errorf("an idle board gave %d, want the one that did it last", w)
	}
	if w := next(b, &Job{Native: []int{0, 1, 2}, Last: 2}); w != 0 {
		t.Errorf("the least loaded is %d, want 0", w)
	}
	// Loads are now 1/2, 0/4, 1/4.
	if w := next(b, &Job{Native: []int{0, 1, 2}, Last: 0}); w != 1 {
		t.Errorf("the least loaded is %d, want 1", w)
	}
	// A foreign worker is for when no native one is up.
	j := &Job{Native: []int{0}, Foreign: []int{1}, Last: -1}
	if w := next(b, j); w != 0 {
		t.Errorf("native: %d", w)
	}
	if w := next(b, j); w != -1 {
		t.Errorf("the native one is busy, not gone, but %d was taken", w)
	}
	b.SetUp(0, false)
	if w := next(b, j); w != 1 {
		t.Errorf("the native one is gone: %d, want 1", w)
	}
	b.SetUp(1, false)
	if b.Served(j) {
		t.Error("nobody is left, yet the job counts as served")
	}
}

// 64 builds of mixed durations over 8 workers end within 1.15 of the ideal,
// where last time's durations are known.
func TestMakespan(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := NewBoard(slices.Repeat([]int{1}, 8))
		var jobs []*Job
		var sum, longest time.Duration
		for range 64 {
			d := time.Duration(1+r.IntN(60)) * time.Second
			jobs = append(jobs, &Job{Native: everyone(8), Last: -1, Weight: d})
			sum += d
			longest = max(longest, d)
		}
		got, _ := simulate(b, jobs, func(j *Job) time.Duration { return j.Weight })
		ideal := max(sum/8, longest)
		if float64(got) > 1.15*float64(ideal) {
			t.Errorf("seed %d: %s, ideal %s", seed, got, ideal)
		}
	}
}

// The same jobs are placed alike, run after run.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	place := func() string {
		b := NewBoard([]int{1, 2, 3})
		var jobs []*Job
		for i := range 40 {
			jobs = append(jobs, &Job{Native: everyone(3), Last: i % 3, Weight: time.Duration(i%7) * time.Second})
		}
		_, placed := simulate(b, jobs, func(j *Job) time.Duration { return time.Second + j.Weight })
		var out []int
		for _, j := range jobs {
			out = append(out, placed[j])
		}
		return fmt.Sprint(out)
	}
	if first := place(); first != place() {
		t.Error("two runs differ")
	}
}

// BenchmarkBoard is 500 targets × 6 platforms over 50 workers in simulated time.
func BenchmarkBoard(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		board := NewBoard(slices.Repeat([]int{4}, 50))
		jobs := make([]*Job, 0, 3000)
		for i := range 3000 {
			var native []int
			for w := i % 6; w < 50; w += 6 {
				native = append(native, w)
			}
			jobs = append(jobs, &Job{Native: native, Last: -1, Weight: time.Duration(i%97) * time.Second})
		}
		simulate(board, jobs, func(j *Job) time.Duration { return time.Second + j.Weight })
	}
}
