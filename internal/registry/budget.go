package registry

import (
	"context"
	"errors"
	"sync"
	"time"
)

// budget is how long one operation, with all its requests and their repetitions,
// may wait for a registry altogether.
type budget struct {
	mu   sync.Mutex
	left time.Duration
	// silence ends the operation where no answer comes in time; waiting that a
	// registry asked for does not count. May be nil.
	silence *time.Timer
}

type budgetKey struct{}

// errSilent is the cause of an operation that was ended by silence.
var errSilent = errors.New("no answer came in time")

// operation gives ctx a budget, unless it has one already.
func (c *Client) operation(ctx context.Context) context.Context {
	if budgetOf(ctx) != nil {
		return ctx
	}
	return context.WithValue(ctx, budgetKey{}, &budget{left: c.maxWait})
}

// probe is operation with a limit to each silence of the registry.
func (c *Client) probe(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &budget{left: c.maxWait}
	b.silence = time.AfterFunc(probeTime, func() { cancel(errSilent) })
	return context.WithValue(ctx, budgetKey{}, b), func() { b.silence.Stop(); cancel(nil) }
}

func budgetOf(ctx context.Context) *budget {
	b, _ := ctx.Value(budgetKey{}).(*budget)
	return b
}

// has reports whether so much is left.
func (b *budget) has(d time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return d <= b.left
}

// wait takes d from the budget and waits; it reports whether that came to its
// end.
func (b *budget) wait(ctx context.Context, d time.Duration) bool {
	b.mu.Lock()
	if d > b.left {
		b.mu.Unlock()
		return false
	}
	b.left -= d
	if b.silence != nil {
		b.silence.Stop()
		defer b.silence.Reset(probeTime)
	}
	b.mu.Unlock()
	return sleep(ctx, d)
}

// Wait is a pause that a registry asked for.
type Wait struct {
	// Host is the registry.
	Host string
	// Duration is how long the pause is from now.
	Duration time.Duration
}

// pauses tells of pauses, of those that overlap the longest.
type pauses struct {
	report func(Wait)
	mu     sync.Mutex
	until  map[string]time.Time
}

// shortPause is one that nobody need be told of.
const shortPause = 3 * time.Second

func (p *pauses) tell(host string, d time.Duration) {
	if p.report == nil || d < shortPause {
		return
	}
	until := time.Now().Add(d)
	p.mu.Lock()
	known := !until.After(p.until[host].Add(shortPause))
	if !known {
		if p.until == nil {
			p.until = map[string]time.Time{}
		}
		p.until[host] = until
	}
	p.mu.Unlock()
	if !known {
		p.report(Wait{Host: familiarHost(host), Duration: d})
	}
}
