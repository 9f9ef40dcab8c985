package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// resumer goes on with an upload that broke off, from where the registry says
// that it has come
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks).
// A registry that does not say makes the library start the upload again.
type resumer struct {
	next     http.RoundTripper
	attempts int
	backoff  time.Duration
	maxWait  time.Duration
}

// RoundTrip implements http.RoundTripper.
func (r *resumer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if req.Method != http.MethodPatch || req.GetBody == nil || req.ContentLength <= 0 || !strings.Contains(req.URL.Path, "/blobs/uploads/") {
		return resp, err
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = r.backoff
	waits.MaxInterval = r.maxWait
	var reached int64
	for attempt := 1; attempt < r.attempts && r.broken(resp, err); attempt++ {
		if !sleep(req.Context(), waits.NextBackOff()) {
			break
		}
		status, have, ok := r.status(req)
		if !ok {
			break
		}
		if err == nil {
			drain(resp)
		}
		if have == req.ContentLength { // only the answer was lost
			return status, nil
		}
		if have > reached { // a bad line gets a large blob through in the end
			reached, attempt = have, 0
			waits.Reset()
		}
		drain(status)
		var rest *http.Request
		if rest, err = remaining(req, status, have); err != nil {
			return nil, err
		}
		resp, err = r.next.RoundTrip(rest)
	}
	return resp, err
}

func (r *resumer) broken(resp *http.Response, err error) bool {
	if err != nil {
		return transient(err)
	}
	return busy(resp.StatusCode) || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable
}

// status asks how many bytes of an upload the registry has.
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
	if resp.StatusCode != http.StatusNoContent || !found || err != nil || n < 0 || n >= upload.ContentLength {
		drain(resp)
		return nil, 0, false
	}
	if n == 0 { // "0-0" is said of nothing and of one byte
		return resp, 0, true
	}
	return resp, n + 1, true
}

// remaining is the upload without its first bytes.
func remaining(upload *http.Request, status *http.Response, have int64) (*http.Request, error) {
	body, err := upload.GetBody()
	if err != nil {
		return nil, err
	}
	if err := skip(body, have); err != nil {
		_ = body.Close()
		return nil, fmt.Errorf("going on with an upload: %w", err)
	}
	rest := upload.Clone(upload.Context())
	rest.Body, rest.GetBody, rest.ContentLength = body, nil, upload.ContentLength-have
	rest.Header.Set("Content-Range", fmt.Sprintf("%d-%d", have, upload.ContentLength-1))
	if at, err := status.Location(); err == nil && at.Host == upload.URL.Host {
		rest.URL = at
	}
	return rest, nil
}

// skip passes over what need not be sent again.
func skip(body io.Reader, n int64) error {
	if m, ok := body.(*metered); ok {
		m.meter.progress.Done += n
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
