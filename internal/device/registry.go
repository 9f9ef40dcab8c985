package device

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/archmage-build/archmage/internal/config"
)

// splitHost takes a registry host apart; without a port it is that of HTTP.
func splitHost(host string) (name, port string) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return strings.Trim(host, "[]"), "80"
	}
	return name, port
}

// reach makes a registry on this machine's loopback answer on the device under
// the same name, once a connection. The image is pulled by digest, so it
// matters not who gives it.
func (d *Device) reach(ctx context.Context, host, repository string, dgst digest.Digest) error {
	if d.Local() || !config.Loopback(host) || d.reached[host] {
		return nil
	}
	// Where the name is taken on the device, a registry may answer there already.
	if err := d.link.bring(ctx, host); err != nil && !d.answers(ctx, host, repository, dgst) {
		return &Error{
			Kind: NoRegistry, Err: fmt.Errorf("bringing the registry %s to the device: %w", host, err),
			Hint: "its sshd must allow forwarding (AllowTcpForwarding yes, and PermitListen), and nothing else may listen at that port there",
		}
	}
	d.reached[host] = true
	return nil
}

// answers asks, from the device, whether a registry answers there. Whether it
// has the image is for the pull to say, which is by digest.
func (d *Device) answers(ctx context.Context, host, repository string, dgst digest.Digest) bool {
	ctx, cancel := context.WithTimeout(ctx, d.connectTimeout())
	defer cancel()
	client, done, err := d.client(ctx, host)
	if err != nil {
		return false
	}
	defer done()
	_, path, _ := strings.Cut(repository, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+host+"/v2/"+path+"/manifests/"+dgst.String(), nil)
	if err != nil {
		return false
	}
	req.Header.Set("Accept", "*/*")
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return slices.Contains([]int{http.StatusOK, http.StatusUnauthorized, http.StatusNotFound}, resp.StatusCode)
}

// client is an HTTP client whose connections begin on the device and go to a
// port of its own loopback.
func (d *Device) client(ctx context.Context, host string) (_ *http.Client, done func(), err error) {
	_, portText := splitHost(host)
	port, err := net.LookupPort("tcp", portText)
	if err != nil {
		return nil, nil, err
	}
	network, address, undo, err := d.link.dial(ctx, port)
	if err != nil {
		return nil, nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		DisableKeepAlives: true,
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client, undo, nil
}
