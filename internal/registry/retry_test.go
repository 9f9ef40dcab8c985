package registry

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// faulty answers the first requests to the path with faults, then passes on.
type faulty struct {
	next   http.Handler
	path   string // requests whose path contains it
	method string
	faults []func(http.ResponseWriter)
	asked  atomic.Int64
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, f.path) || f.method != "" && f.method != r.Method {
		f.next.ServeHTTP(w, r)
		return
	}
	if n := int(f.asked.Add(1)); n <= len(f.faults) {
		f.faults[n-1](w)
		return
	}
	f.next.ServeHTTP(w, r)
}

func status(code int, headers ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		method string
		faults []func(http.ResponseWriter)
		asked  int64
		kind   Kind
	}{
		{"503 and 429", "", []func(http.ResponseWriter){status(503), status(429)}, 3, -1},
		{"connection lost", "", []func(http.ResponseWriter){reset, reset}, 3, -1},
		{"writes too", http.MethodPut, []func(http.ResponseWriter){status(502), reset}, 3, -1},
		{"always down", "", []func(http.ResponseWriter){status(503), status(503), status(503), status(503), status(503), status(503)}, 5, Unavailable},
		{"always busy", "", []func(http.ResponseWriter){status(429), status(429), status(429), status(429), status(429)}, 5, Quota},
		{"not for a moment", "", []func(http.ResponseWriter){status(429, "Retry-After", "3600")}, 1, Quota},
		{"Docker Hub's quota", "", []func(http.ResponseWriter){status(429, "Ratelimit-Remaining", "0;w=21600")}, 1, Quota},
		{"not a matter of time", "", []func(http.ResponseWriter){status(400)}, 1, Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &faulty{next: memory(), path: "/manifests/", method: tt.method, faults: tt.faults}
			repo := serve(t, f) + "/hello"
			c := newTestClient(t, nil, Options{})
			raw := []byte(`{"schemaVersion":2,"manifests":[]}`)
			var err error
			if tt.method == http.MethodPut {
				err = c.PutManifest(t.Context(), repo+":1", ocispecs.MediaTypeImageIndex, raw)
			} else {
				_, _, err = c.Manifest(t.Context(), repo+":1")
				if IsNotFound(err) {
					err = nil // passed on to a registry that is empty
				}
			}
			if kindOf(err) != tt.kind || tt.kind == -1 && err != nil {
				t.Errorf("kind %d (%v), want %d", kindOf(err), err, tt.kind)
			}
			if got := f.asked.Load(); got != tt.asked {
				t.Errorf("asked %d times, want %d", got, tt.asked)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	f := &faulty{next: memory(), path: "/manifests/", faults: []func(http.ResponseWriter){status(429, "Retry-After", "1")}}
	c := newTestClient(t, nil, Options{})
	start := time.Now()
	if _, err := c.Head(t.Context(), serve(t, f)+"/hello:1"); !IsNotFound(err) {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < time.Second {
		t.Errorf("came again after %v, the registry asked for 1 s", waited)
	}
}

func TestQuotaSaysWhen(t *testing.T) {
	t.Parallel()
	f := &faulty{next: memory(), path: "/manifests/", faults: []func(http.ResponseWriter){status(429, "Retry-After", "7200")}}
	c := newTestClient(t, nil, Options{})
	before := time.Now()
	_, err := c.Head(t.Context(), serve(t, f)+"/hello:1")
	if err == nil {
		t.Fatal("no error")
	}
	early := before.Add(2 * time.Hour).Local()
	late := time.Now().Add(2 * time.Hour).Local()
	const layout = "15:04:05 on 2006-01-02"
	if !strings.Contains(told(err), "try again after "+early.Format(layout)) && !strings.Contains(told(err), "try again after "+late.Format(layout)) {
		t.Errorf("error %q, want the time %s", err, late.Format(layout))
	}
}

// TestUploadStartsAgain breaks an upload in the middle, where a request alone
// cannot be repeated.
func TestUploadStartsAgain(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodPatch, http.MethodPut} {
		for name, fault := range map[string]func(http.ResponseWriter){"503": status(503), "reset": reset} {
			t.Run(method+" "+name, func(t *testing.T) {
				t.Parallel()
				f := &faulty{next: memory(), path: "/blobs/uploads/", method: method, faults: []func(http.ResponseWriter){fault, fault}}
				from, to := serve(t, memory())+"/from", serve(t, f)+"/to"
				c := newTestClient(t, nil, Options{})
				desc := upload(t, c, from, []byte("content"))
				if err := c.CopyBlob(t.Context(), from, to, desc); err != nil {
					t.Fatal(err)
				}
				if raw, err := c.Blob(t.Context(), to, desc, 100); err != nil || string(raw) != "content" {
					t.Errorf("%q arrived, %v", raw, err)
				}
			})
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		value string
		wait  time.Duration
		said  bool
	}{
		{"", 0, false},
		{"5", 5 * time.Second, true},
		{"0", 0, true},
		{"-5", 0, false},
		{"soon", 0, false},
		{"99999999999999999999", 0, false},
		{"Tue, 24 Nov 2026 12:01:00 GMT", time.Minute, true},
		{"Tue, 24 Nov 2026 11:00:00 GMT", 0, true},
	}
	for _, tt := range tests {
		resp := &http.Response{Header: http.Header{"Retry-After": {tt.value}}}
		if wait, said := retryAfter(resp, now); wait != tt.wait || said != tt.said {
			t.Errorf("Retry-After %q = %v, %t; want %v, %t", tt.value, wait, said, tt.wait, tt.said)
		}
	}
}

// TestJobs counts what reaches a host at a time, and copies within that host
// with the fewest slots: a copy must not wait for itself.
func TestJobs(t *testing.T) {
	t.Parallel()
	var inFlight, most atomic.Int64
	inner := memory()
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := inFlight.Add(1)
		defer inFlight.Add(-1)
		for {
			seen := most.Load()
			if now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		inner.ServeHTTP(w, r)
	}))
	c := newTestClient(t, nil, Options{Jobs: 2})
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() {
			_, err := c.Head(t.Context(), host+"/hello:1")
			if !IsNotFound(err) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	// A request that was answered may still be leaving the handler.
	if most.Load() > 3 {
		t.Errorf("%d requests at a time, want 2", most.Load())
	}

	narrow := newTestClient(t, nil, Options{Jobs: 1})
	other := serve(t, memory())
	desc := upload(t, narrow, other+"/from", []byte("content"))
	if desc.Digest != digest.FromString("content") {
		t.Fatal(desc.Digest)
	}
	if err := narrow.CopyBlob(t.Context(), other+"/from", other+"/to", desc); err != nil {
		t.Error(err)
	}
}
