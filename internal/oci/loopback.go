package oci

import (
	"net"
	"net/netip"
	"strings"
)

// Loopback reports whether a host, with or without a port, is this machine's
// own loopback interface: "localhost", or an address of 127.0.0.0/8 or ::1. A
// name below .localhost is not: DNS is asked for it, so it may lie anywhere. A
// registry may be spoken to over plain HTTP where this is true.
func Loopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if rest, ok := strings.CutPrefix(host, "["); ok {
		if name, ok = strings.CutSuffix(rest, "]"); !ok {
			return false
		}
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}
