package device

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"time"
)

// serveReader gives those who connect to l what the registry at addr, a host:port
// of this machine's loopback, has, until l is closed. A device pulls: whatever
// runs there cannot write. A registry that speaks TLS is passed through as it is,
// and guards itself.
func serveReader(l net.Listener, addr string) {
	plain := &handedOver{conns: make(chan net.Conn), closed: make(chan struct{}), addr: l.Addr()}
	server := &http.Server{Handler: reader(addr), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(plain) }()
	defer func() {
		close(plain.closed)
		_ = server.Close()
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			in := bufio.NewReader(c)
			const handshake = 22 // RFC 8446, section 5.1
			if first, err := in.Peek(1); err != nil || first[0] == handshake {
				passThrough(c, in, addr)
				return
			}
			select {
			case plain.conns <- peeked{c, in}:
			case <-plain.closed:
				_ = c.Close()
			}
		}()
	}
}

// reader passes on what reads, under the name that the client knows.
func reader(addr string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", addr
			r.Out.Host = r.In.Host
		},
		Transport:     &http.Transport{DisableCompression: true}, // no proxy of the environment
		FlushInterval: -1,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, `{"errors":[{"code":"DENIED","message":"devices may only read"}]}`, http.StatusMethodNotAllowed)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

func passThrough(c net.Conn, in io.Reader, addr string) {
	defer func() { _ = c.Close() }()
	to, err := (&net.Dialer{Timeout: connectTimeout}).Dial("tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		_, _ = io.Copy(to, in)
		_ = to.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, to)
}

// peeked is a connection of which a first byte was looked at.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.in.Read(b) }

// handedOver is a listener of connections that another has accepted.
type handedOver struct {
	conns  chan net.Conn
	closed chan struct{}
	addr   net.Addr
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, errors.New("the listener is closed")
	}
}

func (h *handedOver) Close() error   { return nil }
func (h *handedOver) Addr() net.Addr { return h.addr }
