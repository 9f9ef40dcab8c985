package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// resumer goes on with an upload that broke off, from where the registry says
// that it has come
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks),
// for as long as it gets on. Where that does not do, the error is one at which
// the library starts the upload again.
type resumer struct {
	next     http.RoundTripper
	attempts int
	backoff  time.Duration
	maxWait  time.Duration
	// begun are uploads that met an expired token: with a new one the library
	// sends the same *http.Request again, whose body is partly read.
	begun sync.Map
	// joined are the paths of uploads that were put together of parts.
	joined sync.Map
}

// errUnjoined wraps io.ErrUnexpectedEOF, at which an upload starts again.
var errUnjoined = fmt.Errorf("the parts of the upload do not go together: %w", io.ErrUnexpectedEOF)

// RoundTrip implements http.RoundTripper.
func (r *resumer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPatch && req.GetBody != nil && req.ContentLength > 0 && strings.Contains(req.URL.Path, "/blobs/uploads/") {
		return r.upload(req)
	}
	resp, err := r.next.RoundTrip(req)
	if req.Method == http.MethodPut && err == nil {
		if _, joined := r.joined.LoadAndDelete(req.URL.Path); joined && resp.StatusCode == http.StatusBadRequest {
			drain(resp)
			return nil, errUnjoined
		}
	}
	return resp, err
}

func (r *resumer) upload(req *http.Request) (*http.Response, error) {
	// What is given back if the upload cannot be gone on with.
	first, broke := (*http.Response)(nil), error(errUnjoined)
	if _, again := r.begun.LoadAndDelete(req); !again {
		if first, broke = r.next.RoundTrip(req); unauthorized(first, broke) {
			r.begun.Store(req, nil)
		}
		if !broken(first, broke) {
			return first, broke
		}
	}
	instead := func(resp *http.Response, err error) (*http.Response, error) {
		if first != nil {
			drain(first)
		}
		return resp, err
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = r.backoff
	waits.MaxInterval = r.maxWait
	reached, unreached, early := int64(-1), 0, 0
	left := budgetOf(req.Context())
	if left == nil {
		left = &budget{left: r.maxWait}
	}
	for {
		if wait := waits.NextBackOff(); !left.wait(req.Context(), wait) {
			if err := req.Context().Err(); err != nil {
				return instead(nil, err)
			}
			return first, broke
		}
		status, have, ok := r.status(req)
		if status == nil && req.Context().Err() == nil { // the line or the registry is down
			if unreached++; unreached < r.attempts {
				continue
			}
		}
		switch {
		case unauthorized(status, nil):
			r.begun.Store(req, nil)
			return instead(status, nil)
		case ok && have == req.ContentLength: // only the answer was lost
			return instead(status, nil)
		case status != nil:
			drain(status)
		}
		if !ok || have <= reached {
			return first, broke
		}
		reached = have
		waits.Reset()
		rest, err := remaining(req, status, have)
		if err != nil {
			return instead(nil, err)
		}
		resp, err := r.next.RoundTrip(rest)
		switch {
		case err == nil && resp.StatusCode/100 == 2:
			if at, err := resp.Location(); err == nil {
				r.joined.Store(at.Path, nil)
			}
			return instead(resp, nil)
		case unauthorized(resp, err):
			r.begun.Store(req, nil)
			return instead(resp, nil)
		case err == nil:
			drain(resp)
			// It was still busy with the part that broke off when it was asked.
			if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && early < r.attempts {
				early++
				reached = -1
			}
		}
		if !broken(resp, err) { // it takes no parts
			return first, broke
		}
	}
}

func unauthorized(resp *http.Response, err error) bool {
	return err == nil && resp != nil && resp.StatusCode == http.StatusUnauthorized
}

func broken(resp *http.Response, err error) bool {
	if err != nil {
		return transient(err)
	}
	return busy(resp.StatusCode) || limited(resp) || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable
}

// status asks how many bytes of an upload the registry has. ok is false where
// it does not say.
func (r *resumer) status(upload *http.Request) (resp *http.Response, have int64, ok bool) {
	ask := upload.Clone(upload.Context())
	ask.Method, ask.Body, ask.GetBody, ask.ContentLength = http.MethodGet, http.NoBody, nil, 0
	ask.Header.Del("Content-Type")
	resp, err := r.next.RoundTrip(ask)
	if err != nil {
		return nil, 0, false
	}
	last, found := strings.CutPrefix(resp.Header.Get("Range"), "0-")
	n, err := strconv.ParseInt(last, 10, 64)
	at, lost := resp.Location()
	if resp.StatusCode != http.StatusNoContent || !found || err != nil || n < 0 || n >= upload.ContentLength ||
		lost != nil || at.Host != upload.URL.Host { // the bytes go to nobody else
		return resp, 0, false
	}
	if n == 0 { // "0-0" is said of nothing and of one byte
		return resp, 0, true
	}
	return resp, n + 1, true
}

// remaining is the upload without its first bytes.
func remaining(upload *http.Request, status *http.Response, have int64) (*http.Request, error) {
	at, err := status.Location()
	if err != nil {
		return nil, err
	}
	body, err := upload.GetBody()
	if err != nil {
		return nil, err
	}
	if err := skip(body, have); err != nil {
		_ = body.Close()
		return nil, fmt.Errorf("going on with an upload: %w", err)
	}
	at.Scheme = upload.URL.Scheme // a registry behind a TLS proxy may not know its own
	rest := upload.Clone(upload.Context())
	rest.URL, rest.Body, rest.GetBody, rest.ContentLength = at, body, nil, upload.ContentLength-have
	rest.Header.Set("Content-Range", fmt.Sprintf("%d-%d", have, upload.ContentLength-1))
	return rest, nil
}

// skip passes over what need not be sent again.
func skip(body io.Reader, n int64) error {
	if m, ok := body.(*metered); ok {
		m.meter.count(n, 0)
		body = m.ReadCloser
	}
	if s, ok := body.(io.Seeker); ok {
		_, err := s.Seek(n, io.SeekStart)
		return err
	}
	_, err := io.CopyN(io.Discard, body, n)
	return err
}

// sleep tells whether the time passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
