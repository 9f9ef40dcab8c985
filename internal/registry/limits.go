package registry

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// limits holds the slots of each host.
type limits struct {
	jobs   int64
	mu     sync.Mutex
	byHost map[string]*semaphore.Weighted
}

func newLimits(jobs int64) *limits {
	return &limits{jobs: jobs, byHost: make(map[string]*semaphore.Weighted)}
}

// acquire waits for one of the host's slots and returns the function that
// gives it back.
func (l *limits) acquire(ctx context.Context, address string) (func(), error) {
	s := l.of(address)
	if err := s.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { s.Release(1) }, nil
}

func (l *limits) of(address string) *semaphore.Weighted {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.byHost[address]
	if s == nil {
		s = semaphore.NewWeighted(l.jobs)
		l.byHost[address] = s
	}
	return s
}
