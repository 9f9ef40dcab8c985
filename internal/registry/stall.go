package registry

import (
	"context"
	"net"
	"time"
)

// stallTime is how long a connection may move no byte while one is expected. It
// is longer than a registry takes to look at a large blob.
const stallTime = 2 * time.Minute

// dialer dials connections that fail when they stall: a registry, or a proxy
// before it, that stops in the middle of a body would be waited for for ever.
func dialer(stall time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &stallConn{c, stall}, nil
	}
}

type stallConn struct {
	net.Conn
	limit time.Duration
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write bounds each piece, as a whole buffer may be long on a slow line.
func (c *stallConn) Write(p []byte) (int, error) {
	const piece = 64 << 10
	written := 0
	for {
		part := p[written:min(len(p), written+piece)]
		if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(part)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}
