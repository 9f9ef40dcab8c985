package registry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/archmage-build/archmage/internal/oci"
)

// errPlainHTTP refuses a request that would go over HTTP to a host for which
// that was not declared.
var errPlainHTTP = errors.New("plain HTTP is not declared for this host")

// errOwnMachine refuses a request that a registry would have us send to this
// machine.
var errOwnMachine = errors.New("it sends us to an address of this machine that is no registry of ours")

// errWebPage is the answer of something that is no registry.
var errWebPage = errors.New("a web page instead of the registry API")

// hosts sends each request by the rules of its host, a bounded number at a
// time.
type hosts struct {
	byName map[string]*host
	other  *http.Transport
	limits *limits
	// plain holds, by address, the error of a host that answered TLS with plain
	// HTTP: the library tries TLS first each time.
	plain sync.Map
	// asked are the registries that the client was asked for, by address.
	asked sync.Map
	// local is set where one of them is on loopback.
	local atomic.Bool
}

// note adds a registry to those that the client was asked for.
func (h *hosts) note(address string) {
	h.asked.Store(address, nil)
	if oci.Loopback(address) {
		h.local.Store(true)
	}
}

// foreign reports whether a request goes to this machine's loopback though nobody
// but a registry can have said so, in a redirect, a Location or a challenge. A
// token service may stand beside a registry of this machine.
func (h *hosts) foreign(req *http.Request) bool {
	if !oci.Loopback(req.URL.Host) {
		return false
	}
	if _, ok := h.asked.Load(req.URL.Host); ok {
		return false
	}
	read := req.Method == http.MethodGet || req.Method == http.MethodHead
	return !read || !h.local.Load()
}

type host struct {
	Host
	transport *http.Transport
}

func newHosts(declared []Host, jobs int) (*hosts, error) {
	other, err := newHTTPTransport(Host{})
	if err != nil {
		return nil, err
	}
	h := &hosts{byName: make(map[string]*host, len(declared)), other: other, limits: newLimits(int64(jobs))}
	for _, d := range declared {
		if d.Name == "" {
			return nil, errors.New("declaring a registry: its name is empty; write the host as it stands in the tags")
		}
		t, err := newHTTPTransport(d)
		if err != nil {
			return nil, err
		}
		h.byName[canonicalHost(d.Name)] = &host{Host: d, transport: t}
	}
	return h, nil
}

// find returns what was declared for an address, or for the same host name on
// another port: a registry's token service often stands beside it.
func (h *hosts) find(address string) *host {
	if d := h.byName[canonicalHost(address)]; d != nil {
		return d
	}
	bare := oci.Hostname(address)
	for name, d := range h.byName {
		if oci.Hostname(name) == bare {
			return d
		}
	}
	return nil
}

// plainHTTP tells whether HTTP may be used with an address.
func (h *hosts) plainHTTP(address string) bool {
	d := h.find(address)
	return d != nil && d.PlainHTTP || oci.Loopback(address)
}

// RoundTrip implements http.RoundTripper.
func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !h.plainHTTP(req.URL.Host) {
		closeBody(req)
		return nil, fmt.Errorf("requesting %q: %w", req.URL.Host, errPlainHTTP)
	}
	if h.foreign(req) {
		closeBody(req)
		return nil, fmt.Errorf("requesting %q: %w", req.URL.Host, errOwnMachine)
	}
	if err, ok := h.plain.Load(req.URL.Host); ok && req.URL.Scheme == "https" {
		closeBody(req)
		return nil, err.(error)
	}
	release, err := h.limits.acquire(req.Context(), req.URL.Host)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	// Released with the response's header, not its body: a copy reads one
	// body while it sends another, and would wait for itself.
	defer release()
	next := h.other
	if d := h.find(req.URL.Host); d != nil {
		next = d.transport
	}
	resp, err := next.RoundTrip(req)
	var record tls.RecordHeaderError
	if errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" && h.plainHTTP(req.URL.Host) {
		h.plain.Store(req.URL.Host, err)
	}
	if err == nil && isPage(resp) {
		drain(resp)
		return nil, errWebPage
	}
	if err == nil && strings.Contains(resp.Request.URL.Path, "/manifests/") {
		resp.Body = &bounded{ReadCloser: resp.Body, left: ManifestLimit}
	}
	return resp, err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
