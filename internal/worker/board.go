package worker

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"time"
)

// Board places jobs on workers: it knows slots and loads and nothing of time
// or networks, so that a simulation runs it as a release does. It is not safe
// for concurrent use.
type Board struct {
	seats  []seat
	queues map[string]*queue
	keys   []string // of queues, in order of first use
	next   int
}

// seat is a worker's place on the board.
type seat struct {
	slots, busy int
	up          bool
	full        bool
}

// Job is a build that waits for a worker.
type Job struct {
	// Native and Foreign are the workers that may do it, by their place on the
	// board, in declared order. A foreign one emulates, and is taken only when
	// no native one is up.
	Native, Foreign []int
	// Last is the worker that did it last time, whose cache is warm; -1 for none.
	Last int
	// Weight is how long it and what waits for it took last time. The longest
	// goes first, so that it is not what everybody waits for at the end.
	Weight time.Duration

	order int
	// set is those it may share a solve with, nil for none.
	set *set
}

// NewBoard returns a board of workers with those slots, all of them up.
func NewBoard(slots []int) *Board {
	b := &Board{queues: map[string]*queue{}}
	for _, s := range slots {
		b.seats = append(b.seats, seat{slots: s, up: true})
	}
	return b
}

// Put adds a job that is ready.
func (b *Board) Put(j *Job) {
	j.order = b.next
	b.next++
	key := fmt.Sprint(j.Native, j.Foreign)
	q := b.queues[key]
	if q == nil {
		q = &queue{}
		b.queues[key] = q
		b.keys = append(b.keys, key)
	}
	heap.Push(q, j)
}

// Remove takes a waiting job off the board.
func (b *Board) Remove(j *Job) {
	q := b.queues[fmt.Sprint(j.Native, j.Foreign)]
	if q == nil {
		return
	}
	if i := slices.Index(*q, j); i >= 0 {
		heap.Remove(q, i)
	}
}

// Next places the most urgent job that has a free worker: the least loaded
// one, then the one that did it last, then the first declared. The slot is
// taken until Free.
func (b *Board) Next() (*Job, int, bool) {
	var best *queue
	for _, k := range b.keys {
		q := b.queues[k]
		if q.Len() == 0 || (best != nil && !(*q)[0].before((*best)[0])) {
			continue
		}
		if b.pick((*q)[0]) >= 0 {
			best = q
		}
	}
	if best == nil {
		return nil, -1, false
	}
	j, _ := heap.Pop(best).(*Job)
	w := b.pick(j)
	b.seats[w].busy++
	return j, w, true
}

// pick is the worker for a job, or -1 if it has to wait.
func (b *Board) pick(j *Job) int {
	eligible := j.Native
	if !b.anyUp(j.Native) {
		eligible = j.Foreign
	}
	room := slices.ContainsFunc(eligible, func(w int) bool { return b.seats[w].up && !b.seats[w].full })
	best := -1
	for _, w := range eligible {
		s := b.seats[w]
		if !s.up || s.busy >= s.slots || (room && s.full) {
			continue
		}
		if best < 0 {
			best = w
			continue
		}
		o := b.seats[best]
		// busy/slots, without division
		load := cmp.Compare(s.busy*o.slots, o.busy*s.slots)
		if load < 0 || (load == 0 && w == j.Last) {
			best = w
		}
	}
	return best
}

func (b *Board) anyUp(workers []int) bool {
	return slices.ContainsFunc(workers, func(w int) bool { return b.seats[w].up })
}

// Served says whether any worker that may do the job is up.
func (b *Board) Served(j *Job) bool { return b.anyUp(j.Native) || b.anyUp(j.Foreign) }

// Free gives a slot back.
func (b *Board) Free(w int) { b.seats[w].busy-- }

// SetUp says whether a worker takes jobs.
func (b *Board) SetUp(w int, up bool) { b.seats[w].up = up }

// SetFull says whether a worker's disk is full. It gets jobs only when no other
// that may do them is up and has room.
func (b *Board) SetFull(w int, full bool) { b.seats[w].full = full }

// before orders jobs by urgency.
func (j *Job) before(o *Job) bool {
	if j.Weight != o.Weight {
		return j.Weight > o.Weight
	}
	return j.order < o.order
}

// queue holds the jobs that the same workers may do, the most urgent first.
type queue []*Job

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].before(q[j]) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { j, _ := x.(*Job); *q = append(*q, j) }
func (q *queue) Pop() any {
	old := *q
	j := old[len(old)-1]
	*q = old[:len(old)-1]
	return j
}
