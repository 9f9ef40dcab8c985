package registry

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/archmage-build/archmage/internal/credential"
)

const secondary = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."

// says answers with an error in the form of the distribution spec.
func says(code int, name, message string, headers ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, name, message)
	}
}

// Too many requests are waited for whatever the registry calls them, and at each
// request of a push.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	many := map[string]func(http.ResponseWriter){
		"429":                   status(http.StatusTooManyRequests),
		"429 with a time":       status(http.StatusTooManyRequests, "Retry-After", "0"),
		"403 in words":          says(http.StatusForbidden, "DENIED", secondary),
		"403 with a code":       says(http.StatusForbidden, "TOOMANYREQUESTS", "slow down"),
		"403 with a time":       says(http.StatusForbidden, "DENIED", "no", "Retry-After", "0"),
		"403 with nothing left": status(http.StatusForbidden, "X-RateLimit-Remaining", "0"),
		"403 as abuse":          says(http.StatusForbidden, "DENIED", "You have triggered an abuse detection mechanism"),
		"503 with a time":       status(http.StatusServiceUnavailable, "Retry-After", "0"),
	}
	requests := []struct{ method, path string }{
		{http.MethodPost, "/blobs/uploads/"}, {http.MethodPatch, "/blobs/uploads/"}, {http.MethodPut, "/blobs/uploads/"},
		{http.MethodPut, "/manifests/"}, {http.MethodHead, "/manifests/"}, {http.MethodGet, "/manifests/"},
		{http.MethodHead, "/blobs/"}, {http.MethodGet, "/blobs/sha256"}, {http.MethodGet, "/v2/"},
	}
	for name, fault := range many {
		for _, r := range requests {
			t.Run(name+" at "+r.method+" "+r.path, func(t *testing.T) {
				t.Parallel()
				f := &faulty{next: memory(), path: r.path, method: r.method, faults: []func(http.ResponseWriter){fault, fault}}
				if r.method == http.MethodHead { // its answer has no body: the reason is what GET says
					f.method = ""
				}
				repo := serve(t, f) + "/hello"
				c := newTestClient(t, nil, Options{})
				if err := c.CheckPush(t.Context(), repo); err != nil {
					t.Fatal(err)
				}
				desc := ocispecs.Descriptor{Digest: digest.FromString("content"), Size: 7}
				if err := c.PutBlob(t.Context(), repo, desc, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }); err != nil {
					t.Fatal(err)
				}
				if _, err := c.BlobSize(t.Context(), repo, desc.Digest); err != nil {
					t.Fatal(err)
				}
				raw := []byte(`{"schemaVersion":2,"manifests":[]}`)
				if err := c.PutManifest(t.Context(), repo+":1", ocispecs.MediaTypeImageIndex, raw); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Head(t.Context(), repo+":1"); err != nil {
					t.Fatal(err)
				}
				if _, _, err := c.Manifest(t.Context(), repo+":1"); err != nil {
					t.Fatal(err)
				}
				if got, err := c.Blob(t.Context(), repo, desc, 100); err != nil || string(got) != "content" {
					t.Fatalf("%q, %v", got, err)
				}
				if f.asked.Load() < 3 {
					t.Errorf("the fault came %d times", f.asked.Load())
				}
			})
		}
	}
}

// A refusal stays one, whatever the repository is called.
func TestDeniedIsNotTooMany(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		repo  string
		fault func(http.ResponseWriter)
	}{
		{"hello", says(http.StatusForbidden, "DENIED", "requested access to the resource is denied")},
		{"rate-limit/app", says(http.StatusForbidden, "DENIED", "user may not push to rate-limit/app")},
		{"hello", status(http.StatusForbidden)},
	} {
		f := &faulty{next: memory(), path: "/blobs/uploads/", faults: []func(http.ResponseWriter){tt.fault, tt.fault, tt.fault}}
		err := newTestClient(t, nil, Options{}).CheckPush(t.Context(), serve(t, f)+"/"+tt.repo)
		if kindOf(err) != Denied || f.asked.Load() != 1 {
			t.Errorf("%s: kind %d (%v) after %d requests", tt.repo, kindOf(err), err, f.asked.Load())
		}
	}
}

// What an operation waits for has one bound, and a pause is told.
func TestBudget(t *testing.T) {
	t.Parallel()
	second := status(http.StatusTooManyRequests, "Retry-After", "1")
	f := &faulty{next: memory(), path: "/manifests/", faults: []func(http.ResponseWriter){second, second, second, second}}
	c := newTestClient(t, nil, Options{MaxWait: 2500 * time.Millisecond, Attempts: 10})
	start := time.Now()
	_, err := c.Head(t.Context(), serve(t, f)+"/hello:1")
	if kindOf(err) != Quota || f.asked.Load() != 3 || time.Since(start) < 2*time.Second {
		t.Errorf("kind %d (%v) after %d requests and %s, want Quota after 3", kindOf(err), err, f.asked.Load(), time.Since(start))
	}

	var told []Wait
	f = &faulty{next: memory(), path: "/manifests/", faults: []func(http.ResponseWriter){status(http.StatusTooManyRequests, "Retry-After", "4")}}
	host := serve(t, f)
	c = newTestClient(t, nil, Options{Waiting: func(w Wait) { told = append(told, w) }})
	if _, err := c.Head(t.Context(), host+"/hello:1"); !IsNotFound(err) {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].Host != host || told[0].Duration < 4*time.Second {
		t.Errorf("told %v", told)
	}
}

// The check before a build waits longer than it would for a silent registry.
func TestCheckPushWaits(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: it waits for more than ten seconds")
	}
	f := &faulty{next: memory(), path: "/blobs/uploads/", faults: []func(http.ResponseWriter){status(http.StatusTooManyRequests, "Retry-After", "11")}}
	if err := newTestClient(t, nil, Options{}).CheckPush(t.Context(), serve(t, f)+"/hello"); err != nil {
		t.Error(err)
	}
}

// Some token services refuse two repositories in one token, or look at the first
// alone.
func TestTokenForTwoRepositories(t *testing.T) {
	t.Parallel()
	for _, manner := range []string{"both", "refuses", "first"} {
		t.Run(manner, func(t *testing.T) {
			t.Parallel()
			org, mirror := memory(), memory() // one in memory has the same blobs in all its repositories
			var host string
			var refused atomic.Int64
			host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					scopes := r.URL.Query()["scope"]
					if manner == "refuses" && len(scopes) > 1 {
						refused.Add(1)
						w.WriteHeader(http.StatusForbidden)
						return
					}
					if manner == "first" {
						scopes = scopes[:1]
					}
					_, _ = fmt.Fprintf(w, `{"token":%q}`, strings.Join(scopes, "|"))
					return
				}
				name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
				if !strings.Contains(r.Header.Get("Authorization"), "repository:"+name+":") {
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope="repository:%s:pull,push"`, host, name))
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if q := r.URL.Query(); q.Get("from") != "" && !strings.Contains(r.Header.Get("Authorization"), "repository:"+q.Get("from")+":") {
					q.Del("mount")
					q.Del("from")
					r.URL.RawQuery = q.Encode()
				}
				if strings.HasPrefix(name, "mirror/") {
					mirror.ServeHTTP(w, r)
					return
				}
				org.ServeHTTP(w, r)
			}))
			c := newTestClient(t, nil, Options{})
			desc := ocispecs.Descriptor{Digest: digest.FromString("content"), Size: 7}
			if err := c.PutBlob(t.Context(), host+"/org/app", desc, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }); err != nil {
				t.Fatal(err)
			}
			if err := c.CopyBlob(t.Context(), host+"/org/app", host+"/mirror/app", desc); err != nil {
				t.Fatal(err)
			}
			if raw, err := c.Blob(t.Context(), host+"/mirror/app", desc, 100); err != nil || string(raw) != "content" {
				t.Errorf("%q, %v", raw, err)
			}
			if manner == "refuses" && refused.Load() == 0 {
				t.Error("no token for two was asked for")
			}
		})
	}
}

// A registry that makes no repository by itself is told apart from one that lacks
// a tag.
func TestRepositoryMustExist(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault func(http.ResponseWriter)
		kind  Kind
		hint  string
	}{
		{"unknown", says(http.StatusNotFound, "NAME_UNKNOWN", "The repository with name 'hello' does not exist in the registry with id '1'"), NoRepository, "create the repository"},
		{"without words", status(http.StatusNotFound), NoRepository, "create the repository"},
		{"forbidden", says(http.StatusForbidden, "DENIED", "not authorized to perform: InitiateLayerUpload"), Denied, "that the repository exists"},
	} {
		f := &faulty{next: memory(), path: "/blobs/uploads/", faults: []func(http.ResponseWriter){tt.fault}}
		err := newTestClient(t, nil, Options{}).CheckPush(t.Context(), serve(t, f)+"/hello")
		if kindOf(err) != tt.kind || !strings.Contains(told(err), tt.hint) {
			t.Errorf("%s: kind %d, %s", tt.name, kindOf(err), told(err))
		}
	}
	if _, err := newTestClient(t, nil, Options{}).Head(t.Context(), serve(t, memory())+"/hello:1"); kindOf(err) != NotFound {
		t.Errorf("a tag that is not there: %v", err)
	}
}

// A registry on plain HTTP that breaks connections is not said to lack HTTPS.
func TestResetOfPlainHTTP(t *testing.T) {
	t.Parallel()
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reset(w) }))
	c := newTestClient(t, []Host{{Name: host, PlainHTTP: true, SkipVerify: true}}, Options{})
	for _, err := range []error{c.Ping(t.Context(), host), c.CheckPush(t.Context(), host+"/hello")} {
		if kindOf(err) != Unreachable || !strings.Contains(told(err), "breaks the connection") {
			t.Errorf("kind %d: %s", kindOf(err), told(err))
		}
	}
}

// A body that stops in the middle is not waited for for ever.
func TestStall(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "the beginning")
		w.(http.Flusher).Flush()
		<-released
	}))
	defer server.Close()
	defer close(released)
	client := &http.Client{Transport: &http.Transport{DialContext: dialer(100 * time.Millisecond)}}
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil || !transient(err) {
		t.Errorf("%v, which is not tried again", err)
	}
}

// Where a registry sends tokens and bytes to is its own affair only as far as it
// is its own: no address of this machine or network, no plain HTTP.
func TestHostileAddresses(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	victim := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	_, port, _ := net.SplitHostPort(victim)
	for _, realm := range []string{
		"http://" + victim + "/token", "https://" + victim + "/token", "https://169.254.169.254/latest/meta-data", "http://[::1]:1/",
		"file:///etc/passwd", "gopher://x.test/", "/token", "",
	} {
		host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
		}))
		file := writeFile(t, 0o600, auths(host, "me", "hunter2"), t.TempDir(), "config.json")
		c := newTestClient(t, nil, Options{Credentials: credential.OfFiles(file), Attempts: 1})
		err := c.CheckPush(t.Context(), host+"/hello")
		if err == nil || strings.Contains(told(err), "hunter2") {
			t.Errorf("realm %q: %v", realm, err)
		}
	}
	for _, location := range []string{"http://" + victim + "/v2/hello/blobs/uploads/1", "http://localhost:" + port + "/v2/hello/blobs/uploads/1", "https://169.254.169.254/v2/hello/blobs/uploads/1", "//" + victim + "/x", "gopher://x.test/v2/", ""} {
		host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodPost:
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusAccepted)
			case http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			}
		}))
		c := newTestClient(t, nil, Options{Attempts: 1})
		desc := ocispecs.Descriptor{Digest: digest.FromString("content"), Size: 7}
		err := c.PutBlob(t.Context(), host+"/hello", desc, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil })
		if err == nil {
			t.Errorf("location %q: the upload passed", location)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests reached somebody else", n)
	}
}

// A cache that has an index may get what is in it a moment later.
func TestListedIsLookedForAgain(t *testing.T) {
	t.Parallel()
	for missing, found := range map[int]bool{0: true, 2: true, 3: true, 4: false} {
		f := &faulty{next: memory(), path: "/manifests/sha256:", method: http.MethodGet, faults: slices.Repeat([]func(http.ResponseWriter){says(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")}, missing)}
		repo := serve(t, f) + "/hello"
		c := newTestClient(t, nil, Options{})
		raw := []byte(`{"schemaVersion":2,"manifests":[]}`)
		ref := repo + "@" + digest.FromBytes(raw).String()
		if err := c.PutManifest(t.Context(), ref, ocispecs.MediaTypeImageIndex, raw); err != nil {
			t.Fatal(err)
		}
		_, got, err := c.Listed(t.Context(), ref)
		if found != (err == nil && string(got) == string(raw)) || !found && !IsNotFound(err) {
			t.Errorf("missing %d times: %v", missing, err)
		}
		if want := int64(min(missing+1, looks)); f.asked.Load() != want {
			t.Errorf("missing %d times: asked %d times", missing, f.asked.Load())
		}
	}
}

// A tag that a registry never moves is told as one, whatever the registry says.
func TestImmutableTag(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(http.ResponseWriter){
		"ECR":    says(http.StatusBadRequest, "TAG_INVALID", "The image tag '1' already exists in the 'hello' repository and cannot be overwritten because the tag is immutable."),
		"Harbor": says(http.StatusPreconditionFailed, "PRECONDITION", "Failed to process request due to 'hello:1' configured as immutable."),
		"Google": says(http.StatusForbidden, "DENIED", "Cannot update tag 1. The repository has enabled tag immutability (immutable tags)"),
	} {
		f := &faulty{next: memory(), path: "/manifests/1", method: http.MethodPut, faults: []func(http.ResponseWriter){fault}}
		err := newTestClient(t, nil, Options{}).PutManifest(t.Context(), serve(t, f)+"/hello:1", ocispecs.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
		if !strings.Contains(told(err), "does not let the tag be moved") || !strings.Contains(told(err), "another tag") || f.asked.Load() != 1 {
			t.Errorf("%s: %s", name, told(err))
		}
	}
}

// thirds resets every third connection, and lets none be used twice.
type thirds struct {
	net.Listener
	n atomic.Int64
}

func (l *thirds) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.n.Add(1)%3 != 0 {
			return c, err
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// An upload takes three requests. A proxy that breaks every third connection does
// not break every upload.
func TestEveryThirdConnection(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(memory())
	server.Config.SetKeepAlivesEnabled(false)
	server.Listener = &thirds{Listener: server.Listener}
	server.Start()
	defer server.Close()
	c := newTestClient(t, nil, Options{Jobs: 1})
	repo := server.Listener.Addr().String() + "/hello"
	for i := range 20 {
		content := fmt.Sprint("content ", i)
		desc := ocispecs.Descriptor{Digest: digest.FromString(content), Size: int64(len(content))}
		if err := c.PutBlob(t.Context(), repo, desc, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }); err != nil {
			t.Errorf("upload %d: %v", i, err)
		}
	}
}
