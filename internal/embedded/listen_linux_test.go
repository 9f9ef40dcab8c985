package embedded_test

import (
	"net"
	"testing"

	psnet "github.com/shirou/gopsutil/v4/net"
)

// freePort returns a port that nothing listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// onlyLoopback checks that process pid listens at no other address.
func onlyLoopback(t *testing.T, pid int) {
	t.Helper()
	conns, err := psnet.ConnectionsPid("inet", int32(pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		if c.Status == "LISTEN" && !net.ParseIP(c.Laddr.IP).IsLoopback() {
			t.Errorf("process %d listens at %s:%d", pid, c.Laddr.IP, c.Laddr.Port)
		}
	}
}
