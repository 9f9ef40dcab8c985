// Package registry gives every step one way to talk to image registries: the
// same credentials, TLS and plain HTTP rules, retries, limits and error words.
package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/archmage-build/archmage/internal/credential"
	"github.com/archmage-build/archmage/internal/oci"
)

// Host says how one registry is spoken to. A registry without a Host is spoken
// to over HTTPS with the system's roots, and one on loopback over either
// scheme.
type Host struct {
	// Name is the registry as it stands in a reference: "docker.io",
	// "localhost:5000".
	Name string
	// PlainHTTP allows HTTP where the host does not speak TLS.
	PlainHTTP bool
	// SkipVerify accepts any TLS certificate.
	SkipVerify bool
	// CAFile is a PEM bundle trusted for this host besides the system's roots.
	CAFile string
}

// Options tune a Client. The zero value works, without credentials.
type Options struct {
	// Credentials gives the logins. Without it, all registries are spoken to
	// anonymously.
	Credentials *credential.Store
	// Jobs bounds the requests in flight to one host, and the blobs copied at
	// a time; 0 means 8.
	Jobs int
	// Attempts bounds how often a request is sent; 0 means 5.
	Attempts int
	// Backoff is the wait before the second attempt, doubled (with jitter)
	// for each further one; 0 means half a second.
	Backoff time.Duration
	// MaxWait is how long one operation (a manifest, a blob) waits altogether
	// for a registry that is busy or wants fewer requests. A registry that asks
	// for more (Retry-After) has a quota that is used up, which is an error. 0
	// means two minutes.
	MaxWait time.Duration
	// UserAgent is put before the library's own.
	UserAgent string
	// Progress is told of blobs on their way to a registry, from several
	// goroutines at once and often; it may be nil.
	Progress func(Progress)
	// Waiting is told of pauses that a person would notice, from several
	// goroutines; it may be nil.
	Waiting func(Wait)
}

// Client talks to registries. It is safe for concurrent use.
type Client struct {
	hosts       *hosts
	credentials *credential.Store
	keychain    authn.Keychain
	puller      *remote.Puller
	pusher      *remote.Pusher
	transport   http.RoundTripper
	jobs        int
	attempts    int
	backoff     time.Duration
	maxWait     time.Duration
	progress    func(Progress)
	seen        seen
	blobs       blobs
}

// New returns a client for the declared hosts and, by the rules of Host, any
// other. It reads the CA files; no connection is made.
func New(declared []Host, opts Options) (*Client, error) {
	if opts.Jobs <= 0 {
		opts.Jobs = 8
	}
	if opts.Attempts <= 0 {
		opts.Attempts = 5
	}
	if opts.Backoff <= 0 {
		opts.Backoff = 500 * time.Millisecond
	}
	if opts.MaxWait <= 0 {
		opts.MaxWait = 2 * time.Minute
	}
	if opts.UserAgent == "" {
		opts.UserAgent = "archmage"
	}
	h, err := newHosts(declared, opts.Jobs)
	if err != nil {
		return nil, err
	}
	c := &Client{
		hosts:       h,
		credentials: opts.Credentials,
		keychain:    keychain{opts.Credentials},
		jobs:        opts.Jobs,
		attempts:    opts.Attempts,
		backoff:     opts.Backoff,
		maxWait:     opts.MaxWait,
		progress:    opts.Progress,
		transport: oneScope{&resumer{
			next: &retrier{
				next:     h,
				attempts: opts.Attempts,
				backoff:  opts.Backoff,
				maxWait:  opts.MaxWait,
				pauses:   &pauses{report: opts.Waiting},
			},
			attempts: opts.Attempts,
			backoff:  opts.Backoff,
			maxWait:  opts.MaxWait,
		}},
	}
	remoteOpts := []remote.Option{
		remote.WithTransport(c.transport),
		remote.WithAuthFromKeychain(c.keychain),
		remote.WithJobs(opts.Jobs),
		remote.WithUserAgent(opts.UserAgent),
		// The retrier has repeated what can be repeated by itself. What is
		// left to the library is an upload broken in the middle that the
		// resumer could not go on with: it starts again from its first request.
		remote.WithRetryStatusCodes(),
		remote.WithRetryPredicate(uploadBroken),
		remote.WithRetryBackoff(remote.Backoff{Duration: opts.Backoff, Factor: 2, Jitter: 0.5, Steps: opts.Attempts}),
	}
	if c.puller, err = remote.NewPuller(remoteOpts...); err != nil {
		return nil, fmt.Errorf("preparing the registry client: %w", err)
	}
	if c.pusher, err = remote.NewPusher(remoteOpts...); err != nil {
		return nil, fmt.Errorf("preparing the registry client: %w", err)
	}
	return c, nil
}

// Jobs is the number of things worth doing at a time with this client.
func (c *Client) Jobs() int { return c.jobs }

// newHTTPTransport returns the transport for one host. The dial time is short:
// a host that does not answer in it is down as far as a release is concerned.
func newHTTPTransport(h Host) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer(stallTime),
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   50,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		ExpectContinueTimeout: time.Second,
	}
	tlsConfig := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: h.SkipVerify, //nolint:gosec // declared by the user for this one host
	}
	if h.CAFile != "" {
		authorities, err := ReadCA(h.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of registry %q: %w", h.Name, err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		for _, a := range authorities {
			roots.AddCert(a)
		}
		tlsConfig.RootCAs = roots
	}
	t.TLSClientConfig = tlsConfig
	return t, nil
}

// ReadCA reads the certificates of a PEM bundle. Those that do not parse are
// passed over, as crypto/x509 does; a bundle without any other is an error.
func ReadCA(path string) ([]*x509.Certificate, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	var bad error
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			bad = err
			continue
		}
		out = append(out, cert)
	}
	if len(out) == 0 && bad != nil {
		return nil, fmt.Errorf("%q holds no certificate that can be read: %w", path, bad)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q holds no PEM certificate", path)
	}
	return out, nil
}

// canonicalHost is the host that a registry is spoken to at.
func canonicalHost(name string) string {
	if name = oci.RegistryName(name); name == "docker.io" {
		return "index.docker.io"
	}
	return name
}

// familiarHost is the name of a host as a user writes it.
func familiarHost(name string) string { return oci.RegistryName(name) }

// splitHost returns the host and path of a repository or reference, normalised
// as Docker does: "alpine" is docker.io and library/alpine.
func splitHost(ref string) (reference.Named, error) {
	named, err := oci.ParseReference(ref)
	var e *oci.ReferenceError
	if errors.As(err, &e) {
		return nil, fmt.Errorf("%w; %s", err, e.Hint())
	}
	return named, nil
}
