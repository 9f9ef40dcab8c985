package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// retrier repeats requests that a registry or the network turned down for the
// moment.
type retrier struct {
	next     http.RoundTripper
	attempts int
	backoff  time.Duration
	maxWait  time.Duration // for a request that belongs to no operation
	pauses   *pauses
}

// quotaError is a 429, or what some say instead, that waiting a moment does not cure.
type quotaError struct {
	host  string
	until time.Time // zero when the registry does not say
}

func (e *quotaError) Error() string { return "too many requests to " + e.host }

// spentError is a network error that was already retried.
type spentError struct{ err error }

func (e *spentError) Error() string { return e.err.Error() }
func (e *spentError) Unwrap() error { return e.err }

// RoundTrip implements http.RoundTripper.
func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	left := budgetOf(req.Context())
	if left == nil {
		left = &budget{left: r.maxWait}
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = r.backoff
	waits.Multiplier = 2
	waits.RandomizationFactor = 0.5
	waits.MaxInterval = r.maxWait
	for attempt := 1; ; attempt++ {
		try := req
		if attempt > 1 && req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			try = req.Clone(req.Context())
			try.Body = body
		}
		resp, err := r.next.RoundTrip(try)
		many := err == nil && (limited(resp) || r.limitedHead(req, resp))
		switch {
		case many && rewindable(req): // turned down before anything was done
		case !repeatable(req), err != nil && !transient(err), err == nil && !busy(resp.StatusCode):
			return resp, err
		}
		wait := waits.NextBackOff()
		if many {
			wait *= manyFactor
		}
		asked, said := time.Duration(0), false
		if err == nil {
			asked, said = retryAfter(resp, time.Now())
		}
		if said && left.has(asked) {
			// The registry knows better when it will be ready; the jitter
			// keeps parallel requests from coming back all at once.
			wait = asked + min(wait, r.backoff)/4
		}
		deadline, bounded := req.Context().Deadline()
		if attempt >= r.attempts || many && (quotaUsedUp(resp) || said && asked > wait) || !left.has(wait) ||
			bounded && time.Now().Add(wait).After(deadline) {
			switch {
			case err != nil:
				return nil, &spentError{err}
			case many:
				return nil, quota(resp, asked, said)
			}
			return resp, nil
		}
		if err == nil {
			drain(resp)
		}
		if many || said {
			r.pauses.tell(req.URL.Host, wait)
		}
		if !left.wait(req.Context(), wait) {
			if ctxErr := req.Context().Err(); ctxErr != nil {
				return nil, ctxErr
			}
			return nil, &spentError{fmt.Errorf("waiting for %s took too long", req.URL.Host)} // another request took what was left
		}
	}
}

// limitedHead is limited for the answer to HEAD, which has no body that would say
// why: that of GET has.
func (r *retrier) limitedHead(req *http.Request, resp *http.Response) bool {
	if req.Method != http.MethodHead || resp.StatusCode != http.StatusForbidden {
		return false
	}
	get := req.Clone(req.Context())
	get.Method = http.MethodGet
	said, err := r.next.RoundTrip(get)
	if err != nil {
		return false
	}
	defer func() { _ = said.Body.Close() }() // not drained: it may be a whole blob
	return limited(said)
}

// manyFactor is how much longer than usual is waited after a request too many,
// where the registry does not say: such limits are counted by the minute.
const manyFactor = 8

// rewindable reports whether a request can be sent from its beginning again.
func rewindable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// repeatable tells whether sending a request again means the same. Parts of a
// blob upload do not: their place is with the session, so the upload starts
// again as a whole. The request that ends an upload does: if it was done already,
// the session is gone, and the upload that starts again finds the blob.
func repeatable(req *http.Request) bool {
	if !rewindable(req) {
		return false
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPost:
		return true
	case http.MethodPut:
		return strings.Contains(req.URL.Path, "/manifests/") || endsUpload(req)
	}
	return false
}

// endsUpload tells whether a request ends an upload whose bytes were sent before.
func endsUpload(req *http.Request) bool {
	return req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/blobs/uploads/") && req.ContentLength == 0
}

// transient tells whether a network error may be gone a moment later. A
// refused connection and a dial that timed out are not: the host is down.
func transient(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && op.Timeout() {
		return false
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary && !dns.IsNotFound
	}
	var timeout net.Error
	// HTTP/2's errors are texts only (net/http's bundled x/net/http2).
	for _, text := range []string{"http2: server sent GOAWAY", "http2: client connection lost", "stream error: stream ID"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "server closed idle connection") ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// busy tells whether a status asks to come again later.
func busy(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		499, // nginx: the client (a proxy before the registry) closed the request
		522: // Cloudflare: the origin timed out
		return true
	}
	return false
}

// uploadBroken tells the library whether an upload is to start again: when a
// request that the retrier must not repeat by itself met something transient.
func uploadBroken(err error) bool {
	if err == nil { // the library asks after success too
		return false
	}
	var spent *spentError
	if errors.As(err, &spent) {
		return false
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		if answer.Request == nil || repeatable(answer.Request) && !endsUpload(answer.Request) {
			return false
		}
		switch answer.StatusCode {
		case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable: // the upload session is lost
			return true
		case http.StatusUnauthorized: // a token that was good for its first request has expired
			return true
		}
		return !repeatable(answer.Request) && (busy(answer.StatusCode) || limitedAnswer(err))
	}
	return transient(err)
}

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date.
func retryAfter(resp *http.Response, now time.Time) (wait time.Duration, said bool) {
	value := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, 1<<30)) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

// quotaUsedUp reads Docker Hub's pull quota, "ratelimit-remaining: 0;w=21600".
func quotaUsedUp(resp *http.Response) bool {
	remaining, _, _ := strings.Cut(resp.Header.Get("Ratelimit-Remaining"), ";")
	return strings.TrimSpace(remaining) == "0"
}

func quota(resp *http.Response, asked time.Duration, said bool) error {
	drain(resp)
	e := &quotaError{host: resp.Request.URL.Host}
	if said {
		e.until = time.Now().Add(asked)
	} else if _, window, ok := strings.Cut(resp.Header.Get("Ratelimit-Remaining"), ";w="); ok {
		if seconds, err := strconv.Atoi(window); err == nil && seconds > 0 {
			e.until = time.Now().Add(time.Duration(min(seconds, 1<<30)) * time.Second)
		}
	}
	return e
}

// drain makes the connection fit for the next request.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
}
