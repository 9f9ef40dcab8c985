package oci

import (
	"net"
	"strings"
)

// hub are the names of Docker Hub in references, configuration and addresses.
var hub = map[string]bool{"docker.io": true, "index.docker.io": true, "registry-1.docker.io": true}

// RegistryName is the one name of a registry, with its port: in lower case, and
// "docker.io" for Docker Hub, whose API has other names.
func RegistryName(host string) string {
	host = strings.ToLower(host)
	if hub[host] {
		return "docker.io"
	}
	return host
}

// SameRegistry reports whether two hosts are names of one registry.
func SameRegistry(a, b string) bool { return RegistryName(a) == RegistryName(b) }

// Hostname is a host without its port and brackets.
func Hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
