package oci_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/archmage-build/archmage/internal/oci"
)

// Every spelling of a name, with and without a port and brackets.
func TestLoopback(t *testing.T) {
	t.Parallel()
	names := map[string]bool{
		"localhost": true, "LocalHost": true,
		"127.0.0.1": true, "127.1.2.3": true, "127.255.255.255": true,
		"::1": true, "0:0:0:0:0:0:0:1": true, "::ffff:127.0.0.1": true,

		"127.0.0.1.evil.example": false, "127.evil.example": false, "127.": false, "127.1": false, "127.0.0.1.": false,
		"0127.0.0.1": false, "0x7f.0.0.1": false, "2130706433": false,
		"x.localhost": false, "localhost.evil.example": false, "localhost.": false, "notlocalhost": false, ".localhost": false,
		"128.0.0.1": false, "0.0.0.0": false, "10.0.0.1": false, "::": false, "::2": false, "::ffff:10.0.0.1": false, "fe80::1": false,
		"docker.io": false, "registry.example": false, "": false,
	}
	for name, want := range names {
		forms := []string{name}
		if strings.Contains(name, ":") {
			forms = append(forms, "["+name+"]", "["+name+"]:5000")
		} else {
			forms = append(forms, name+":5000")
		}
		for _, form := range forms {
			if got := oci.Loopback(form); got != want {
				t.Errorf("Loopback(%q) = %t, want %t", form, got, want)
			}
		}
	}
	for _, broken := range []string{"[::1", "::1]", "127.0.0.1:5000:5000", "localhost:5000:1", "[localhost]x", "127.0.0.1/x", "user@127.0.0.1"} {
		if oci.Loopback(broken) {
			t.Errorf("Loopback(%q) is true", broken)
		}
	}
}

// What is called loopback is, for those who connect to it.
func FuzzLoopback(f *testing.F) {
	for _, s := range []string{"localhost:5000", "127.0.0.1", "[::1]:80", "127.0.0.1.evil.example", "::ffff:7f00:1", "[::1%lo]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !oci.Loopback(host) {
			return
		}
		name := host
		if h, _, err := net.SplitHostPort(host); err == nil {
			name = h
		}
		name = strings.Trim(name, "[]")
		if strings.EqualFold(name, "localhost") {
			return
		}
		name, _, _ = strings.Cut(name, "%")
		if ip := net.ParseIP(name); ip == nil || !ip.IsLoopback() {
			t.Errorf("%q is called loopback; its address is %v", host, ip)
		}
		if _, err := netip.ParseAddr(name); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	})
}
