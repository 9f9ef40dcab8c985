package worker

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// pulse notes when bytes last moved over the connections to a worker, in either
// direction. A worker behind a slow uplink answers late, as the question waits
// behind what is sent; what is sent moves nevertheless. To one that is gone or
// hangs nothing moves once the buffers on the way are full.
type pulse struct{ last atomic.Pointer[time.Time] }

// beat notes that bytes have moved.
func (p *pulse) beat() {
	now := time.Now()
	p.last.Store(&now)
}

// silence is how long nothing has moved since begin, or since the last byte.
func (p *pulse) silence(begin time.Time) time.Duration {
	if last := p.last.Load(); last != nil && last.After(begin) {
		begin = *last
	}
	return time.Since(begin)
}

// observed is a transport whose bytes are noted. It lies beneath the encryption,
// and whatever dials the connection.
type observed struct {
	credentials.TransportCredentials
	pulse *pulse
}

func (o observed) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return o.TransportCredentials.ClientHandshake(ctx, authority, observedConn{conn, o.pulse})
}

func (o observed) Clone() credentials.TransportCredentials {
	return observed{o.TransportCredentials.Clone(), o.pulse}
}

type observedConn struct {
	net.Conn
	pulse *pulse
}

func (c observedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.pulse.beat()
	}
	return n, err
}

func (c observedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.pulse.beat()
	}
	return n, err
}
