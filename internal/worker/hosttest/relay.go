package hosttest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Relay brings a service of this machine's loopback to hosts: it listens on an
// address that they reach.
type Relay struct {
	// Address is where it listens.
	Address string
	// Received counts the bytes that clients have sent.
	Received atomic.Int64
	// Rate bounds them, in bytes a second and connection; 0 for no bound.
	Rate atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// NewRelay listens at an address, such as Host.Outer with port 0, until the
// test ends.
func NewRelay(t testing.TB, listen, to string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Address: l.Addr().String(), conns: map[net.Conn]struct{}{}}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		running.Wait()
	})
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.serve(c, to) })
		}
	})
	return r
}

func (r *Relay) keep(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = struct{}{}
}

func (r *Relay) drop(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *Relay) serve(c net.Conn, to string) {
	r.keep(c)
	defer r.drop(c)
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	r.keep(up)
	defer r.drop(up)
	go func() {
		_, _ = io.Copy(c, up)
		_ = c.Close()
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			r.Received.Add(int64(n))
			if rate := r.Rate.Load(); rate > 0 {
				<-time.After(time.Duration(n) * time.Second / time.Duration(rate))
			}
			if _, err := up.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
