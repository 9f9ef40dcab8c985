package registrytest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is one way in which a registry, or what stands before it, fails.
type Fault string

// The faults.
const (
	TooMany    Fault = "429"       // with a Retry-After of 0 seconds
	Broken     Fault = "500"       // also 502, 503 and 504
	Reset      Fault = "reset"     // before the request reached the registry
	LostAnswer Fault = "lost"      // the request was done, its answer never came
	Truncated  Fault = "truncated" // the answer breaks off in the middle
	Slow       Fault = "slow"      // the answer takes a moment
	Outage     Fault = "outage"    // this request and the next ones get 503
	Limited    Fault = "limited"   // 403, and only the words say that there were too many requests
	NoDigest   Fault = "no digest" // a proxy drops the header with the digest
	WrongType  Fault = "type"      // HEAD of a manifest states another media type
	Lying      Fault = "lying"     // one byte of a blob or manifest is another
	faultDelay       = 20 * time.Millisecond
	outageLen        = 7
)

// AllFaults are those that a Faulty injects by turns, the frequent ones more
// than once.
var AllFaults = []Fault{TooMany, Limited, Broken, Broken, Reset, Reset, LostAnswer, Truncated, Truncated, NoDigest, WrongType, Slow, Outage}

// Faulty stands before a registry and makes some requests fail. It injects
// nothing until Allow is called.
type Faulty struct {
	// Rand decides; Every is how many requests there are to a fault on
	// average; Faults are chosen from.
	Rand   *rand.Rand
	Every  int
	Faults []Fault

	mu       sync.Mutex
	limit    int
	injected map[Fault]int
	total    int
	outage   int
}

// Allow ends the faults after so many in all, but for an outage that goes on.
func (f *Faulty) Allow(limit int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = limit
}

// Injected returns how many faults there were, in all and by kind.
func (f *Faulty) Injected() (int, map[Fault]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	byKind := map[Fault]int{}
	for kind, n := range f.injected {
		byKind[kind] = n
	}
	return f.total, byKind
}

func (f *Faulty) next(r *http.Request) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := Fault("")
	switch {
	case f.outage > 0:
		f.outage--
		kind = Outage
	case f.total >= f.limit || len(f.Faults) == 0 || f.Rand.IntN(f.Every) != 0:
		return ""
	default:
		kind = f.Faults[f.Rand.IntN(len(f.Faults))]
		if kind == Outage {
			f.outage = outageLen
		}
	}
	if (kind == Truncated || kind == Lying) && (r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "sha256:")) {
		kind = Reset // only what has a body that a digest names
	}
	if f.injected == nil {
		f.injected = map[Fault]int{}
	}
	f.injected[kind]++
	f.total++
	return kind
}

// Wrap puts the faults before a registry.
func (f *Faulty) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch f.next(r) {
		case TooMany:
			w.Header().Set("Retry-After", strconv.Itoa(0))
			w.WriteHeader(http.StatusTooManyRequests)
		case Limited:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}]}`)
		case NoDigest:
			next.ServeHTTP(&without{ResponseWriter: w, header: "Docker-Content-Digest"}, r)
		case WrongType:
			if r.Method == http.MethodHead {
				w = &without{ResponseWriter: w, header: "Content-Type", instead: "application/octet-stream"}
			}
			next.ServeHTTP(w, r)
		case Broken:
			w.WriteHeader([]int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}[len(r.URL.Path)%4])
		case Outage:
			w.WriteHeader(http.StatusServiceUnavailable)
		case Reset:
			hangUp(w)
		case LostAnswer:
			next.ServeHTTP(&answer{header: http.Header{}}, r)
			hangUp(w)
		case Truncated:
			next.ServeHTTP(&cut{ResponseWriter: w}, r)
		case Lying:
			next.ServeHTTP(&lie{ResponseWriter: w}, r)
		case Slow:
			timer := time.NewTimer(faultDelay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			}
			next.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// hangUp ends the connection so that the client sees a reset.
func hangUp(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(fmt.Sprintf("hanging up: %v", err))
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// answer goes nowhere.
type answer struct{ header http.Header }

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(p []byte) (int, error) { return len(p), nil }
func (a *answer) WriteHeader(int)             {}

// without drops a header of the answer, or gives it another value.
type without struct {
	http.ResponseWriter
	header, instead string
}

func (w *without) WriteHeader(status int) {
	w.Header().Del(w.header)
	if w.instead != "" {
		w.Header().Set(w.header, w.instead)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *without) Write(p []byte) (int, error) {
	if w.Header().Get(w.header) != w.instead {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// cut breaks off after half of what is written first.
type cut struct{ http.ResponseWriter }

func (c *cut) Write(p []byte) (int, error) {
	_, _ = c.ResponseWriter.Write(p[:len(p)/2])
	if flusher, ok := c.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
	panic(http.ErrAbortHandler)
}

// lie changes the first byte of what is written.
type lie struct {
	http.ResponseWriter
	told bool
}

func (l *lie) Write(p []byte) (int, error) {
	if l.told || len(p) == 0 {
		return l.ResponseWriter.Write(p)
	}
	l.told = true
	changed := append([]byte{p[0] ^ 1}, p[1:]...)
	return l.ResponseWriter.Write(changed)
}
